"""vLLM's own rates; run by `serve_vs_vllm.py` with the Python of vLLM's environment.

Standard input: {"base", "adapters": [folders] or [], "batches": [[[token ids]]], "new", "rounds"}.
Last line of the output: tokens a second of each batch, the best of its rounds.
"""

import json
import sys
import time


def main() -> None:
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    given = json.load(sys.stdin)
    folders = given["adapters"]
    options = (
        {
            "enable_lora": True,
            "max_loras": len(folders),
            "max_cpu_loras": len(folders),
            "max_lora_rank": 8,
        }
        if folders
        else {}
    )
    model = LLM(
        given["base"],
        dtype="bfloat16",
        max_model_len=1024,
        max_num_seqs=max(len(batch) for batch in given["batches"]),
        **options,
    )
    requests = [
        LoRARequest(f"client{number}", number + 1, folder) for number, folder in enumerate(folders)
    ]
    sampling = SamplingParams(temperature=0, max_tokens=given["new"])
    rates: list[float] = []
    for batch in given["batches"]:
        best = 0.0
        for _ in range(given["rounds"] + 1):  # the first is not counted in effect: it is slower
            began = time.perf_counter()
            outputs = model.generate(
                [{"prompt_token_ids": ids} for ids in batch],
                sampling,
                lora_request=[requests[at % len(requests)] for at in range(len(batch))]
                if requests
                else None,
                use_tqdm=False,
            )
            seconds = time.perf_counter() - began
            tokens = sum(len(output.outputs[0].token_ids) for output in outputs)
            best = max(best, tokens / seconds)
        rates.append(best)
    print(json.dumps({"tokens_per_second": rates}))


if __name__ == "__main__":
    main()
