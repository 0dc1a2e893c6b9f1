"""Records that all rooms share: what passes from one room to the next.

Frozen, slotted and keyword-only. They hold text, names and numbers; no tensors, no open files.
Rooms that read them from outside (TOML, JSONL, YAML) validate first.
"""

from copydesk.records._drafts import (
    Completer,
    Completion,
    Draft,
    Finding,
    RuleValue,
    Sampling,
    Severity,
    StyleGuide,
)
from copydesk.records._progress import (
    Listener,
    Progress,
    ignore_progress,
)
from copydesk.records._studies import (
    Choice,
    Comparison,
    Latency,
    LossPoint,
    MemoryParts,
    MethodRow,
    Plan,
    Purpose,
    Reason,
    RowStatus,
    SweptRate,
)
from copydesk.records._texts import (
    Brief,
    Chat,
    ChatForm,
    Document,
    Example,
    Fact,
    Form,
    FunnelStep,
    Intent,
    Link,
    Material,
    Message,
    Rejection,
)

__all__ = [
    "Brief",
    "Chat",
    "ChatForm",
    "Choice",
    "Comparison",
    "Completer",
    "Completion",
    "Document",
    "Draft",
    "Example",
    "Fact",
    "Finding",
    "Form",
    "FunnelStep",
    "Intent",
    "Latency",
    "Link",
    "Listener",
    "LossPoint",
    "Material",
    "MemoryParts",
    "Message",
    "MethodRow",
    "Plan",
    "Progress",
    "Purpose",
    "Reason",
    "Rejection",
    "RowStatus",
    "RuleValue",
    "Sampling",
    "Severity",
    "StyleGuide",
    "SweptRate",
    "ignore_progress",
]
