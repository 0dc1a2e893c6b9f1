"""How much a forward pass keeps for its backward pass, measured."""

import torch

from copydesk.models._pack import Packed
from copydesk.models._states import answer_states
from copydesk.models._tuned import Tuned


def kept_bytes(tuned: Tuned, packed: Packed) -> int:
    """Bytes that a forward pass keeps for its backward pass; weights are not counted.

    The pass is run to find out, with autograd reporting every tensor that it saves: this holds for
    any architecture and method.

    Args:
        tuned: as for `backward_loss`.
        packed: on the model's device.
    """
    model = tuned.model
    weights = {tensor.untyped_storage().data_ptr() for tensor in model.parameters()}
    weights |= {tensor.untyped_storage().data_ptr() for tensor in model.buffers()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        # Not the tensor itself: a node that saves its own output would then hold itself for ever.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states = answer_states(tuned, packed)
    del states  # until here the pass held what was counted, so that no address came twice
    return sum(kept.values())
