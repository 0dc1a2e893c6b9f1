"""An example as token ids, and where it carries loss."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Token ids of an example; loss is taken from `prompt_length` on, gaps left out."""

    id: str
    """The example's; parts of one example share it."""
    ids: tuple[int, ...]
    prompt_length: int
    """How many of `ids` come before the first that carries loss; at least one."""
    gaps: tuple[tuple[int, int], ...] = ()
    """[start, end) of later ids that carry none, in order: what stands between learned turns."""
    cut: bool = False
    """The answer was longer than the limit and lost its end."""

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """[start, end) of the ids that carry loss, in order."""
        starts = (self.prompt_length, *(end for _, end in self.gaps))
        ends = (*(start for start, _ in self.gaps), len(self.ids))
        return tuple(zip(starts, ends, strict=True))

    @property
    def answer_length(self) -> int:
        """Tokens that carry loss."""
        return sum(end - start for start, end in self.spans)

    def without_start(self, count: int) -> "Encoded":
        """The same without its first `count` tokens, which must be prompt tokens but not all."""
        assert count < self.prompt_length
        return replace(
            self,
            ids=self.ids[count:],
            prompt_length=self.prompt_length - count,
            gaps=tuple((start - count, end - count) for start, end in self.gaps),
        )

    def with_answer(self, tokens: int) -> "Encoded":
        """The same, ending after so many tokens that carry loss; at least one, at most all."""
        left = tokens
        for start, end in self.spans:
            if left <= end - start:
                gaps = tuple(gap for gap in self.gaps if gap[1] <= start)
                return replace(self, ids=self.ids[: start + left], gaps=gaps)
            left -= end - start
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedSet:
    """Examples of a dataset, each within the limit, and what the limit did to them."""

    examples: tuple[Encoded, ...]
    split: int = 0
    """Examples that were made into several."""
    dropped: int = 0
    """Examples that were left out."""

    @property
    def cut(self) -> int:
        """Examples that lost their end."""
        return sum(example.cut for example in self.examples)
