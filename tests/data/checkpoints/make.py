"""Writes legacy.pt and zip.pt: one small training checkpoint in both containers of torch.save.

It holds what published checkpoints hold besides plain tensors: names with a prefix, a parameter,
views of one storage, a scalar, an empty tensor, other types, numbers, text, an optimizer, an
object of a class of its own and a tensor that is no state.
"""
import collections
import sys

import torch


class Recorder:
    def __init__(self):
        self.epochs = [1, 2.5, (3, None, True)]
        self.self = self


def checkpoint():
    shared = torch.arange(24, dtype=torch.float32)
    state = collections.OrderedDict()
    state["module.conv.weight"] = torch.nn.Parameter(torch.tensor([[1.5, -2.0], [0.25, 4.0]]))
    state["module.transposed"] = shared[2:14].view(3, 4).t()
    state["module.strided"] = shared[1::5]
    state["module.bn.num_batches_tracked"] = torch.tensor(1 << 40)
    state["module.tau"] = torch.tensor(0.85)
    state["module.empty"] = torch.empty(0, 3)
    state["module.packed"] = torch.tensor([128, 65], dtype=torch.uint8)
    state["module.half"] = torch.tensor([1.0, -0.5], dtype=torch.float16)
    state["module.double"] = torch.tensor([1e300], dtype=torch.float64)
    state["module.flags"] = torch.tensor([True, False])
    state._metadata = {"": {"version": 1}}
    return {
        "epoch": 12,
        "arch": "resnet20",
        "state_dict": state,
        "best_prec1": 87.5,
        "long": 1 << 80,
        "recorder": Recorder(),
        "optimizer": {"state": {0: {"momentum_buffer": shared}}, "param_groups": [{"lr": 0.1}]},
        "averages": {"first": shared[:2], "second": torch.ones(1)},
        "size": torch.Size([1, 2]),
    }


if __name__ == "__main__":
    folder = sys.argv[1]
    torch.save(checkpoint(), folder + "/zip.pt")
    torch.save(checkpoint(), folder + "/legacy.pt", _use_new_zipfile_serialization=False)
