#!/usr/bin/env python3
"""Training steps in Python and in lbtrain, timed in turn: how many times as long Python takes.

    scripts/bench-python.py build/release/bin/lbtrain
    scripts/bench-python.py --steps 392 build/release/bin/lbtrain recu/resnet20    # two epochs
    scripts/bench-python.py --compile build/release/bin/lbtrain                    # PyTorch 2

Needs PyTorch (Debian: python3-torch). The Python side is written with it from the formulas that
lbtrain follows too: ReCU's CIFAR ResNet-20, any-precision ResNet-20 of 16 to 64 channels at five
widths, the ternary ResNet-20 and McDonnell's wide ResNet 20-1. Batch, optimizer and rate are those
of trainer/recipes/, data are random, threads and the allocator's settings are lbtrain's. Python
gets the fastest of what a user can switch on without writing other formulas: either memory layout,
fused optimizers, and with --compile torch.compile; a short trial chooses.

Both programs take 15 steps after 2 that are not counted, in turn, until --steps is reached. The
figure is the median over these rounds of each round's median. Before that the losses and weights
of published steps (golden/ in ../shared or LBRT_SHARED, where it exists) are compared in float64,
so that both do the same work.
"""

import argparse
import collections
import ctypes
import itertools
import json
import math
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError:
    sys.exit("bench-python: needs PyTorch (Debian and Ubuntu: python3-torch)")

ROOT = pathlib.Path(__file__).resolve().parent.parent
ROUND, WARMUP = 15, 2  # steps of a round, as in lbtrain --bench

# --- Quantizers ----------------------------------------------------------------------------------


class Sign(torch.autograd.Function):
    """scale * sign(w), with the identity as gradient."""

    @staticmethod
    def forward(ctx, w, scale):
        return w.sign() if scale == 1 else w.sign().mul_(scale)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class TriangleSign(torch.autograd.Function):
    """sign(a), with the gradient max(0, 2 - 2 |a|)."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.sign()

    @staticmethod
    def backward(ctx, grad):
        (a,) = ctx.saved_tensors
        return a.abs().mul_(-2).add_(2).clamp_(min=0).mul_(grad)


class Round(torch.autograd.Function):
    """round(u * levels) / levels, with the identity as gradient."""

    @staticmethod
    def forward(ctx, u, levels):
        return (u * levels).round_().div_(levels)

    @staticmethod
    def backward(ctx, grad):
        return grad, None


class ClippedRound(torch.autograd.Function):
    """x clipped to [0, 1] and rounded to multiples of 1 / levels; the gradient passes in [0, 1]."""

    @staticmethod
    def forward(ctx, x, levels):
        ctx.save_for_backward(x)
        return x.clamp(0, 1).mul_(levels).round_().div_(levels)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * ((x >= 0) & (x <= 1)), None


class Ternary(torch.autograd.Function):
    """-m, 0 or m by the threshold 0.05 max|w|, m the mean of the |w| above it; the gradient passes
    where |w| < 1."""

    @staticmethod
    def forward(ctx, w):
        ctx.save_for_backward(w)
        size = w.abs()
        threshold = 0.05 * size.max()
        kept = size >= threshold
        mean = (size * kept).sum() / kept.sum()
        return ((w >= threshold).to(w.dtype) - (w < -threshold).to(w.dtype)).mul_(mean)

    @staticmethod
    def backward(ctx, grad):
        (w,) = ctx.saved_tensors
        return grad * (w.abs() < 1)


# --- ReCU ----------------------------------------------------------------------------------------


class RecuConv(nn.Conv2d):
    def __init__(self, inputs, outputs, stride):
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)
        self.alpha = nn.Parameter(torch.rand(outputs, 1, 1))
        self.register_buffer("tau", torch.tensor(0.85))

    def forward(self, x):
        w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        w = w / ((w.var((1, 2, 3), keepdim=True) + 1e-5).sqrt() / (2 * math.sqrt(2)))
        limit = -w.detach().abs().mean() * torch.log(2 - 2 * self.tau)
        w = Sign.apply(torch.clamp(w, -limit, limit), 1) * self.alpha.unsqueeze(1)
        x = x / (x.var((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(TriangleSign.apply(x), w, None, self.stride, self.padding)


class RecuBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.pad = stride, (outputs - inputs) // 2
        self.conv1, self.bn1 = RecuConv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = RecuConv(outputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = x
        if self.stride != 1:
            shortcut = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, self.pad, self.pad))
        x = F.hardtanh_(self.bn1(self.conv1(x)).add_(shortcut))
        return F.hardtanh_(self.bn2(self.conv2(x)).add_(x))


class RecuResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = stages(RecuBlock, 16)
        self.bn2, self.linear = nn.BatchNorm1d(64), nn.Linear(64, 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, x):
        x = F.hardtanh_(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(self.bn2(x.mean((2, 3))))


# --- Any-precision -------------------------------------------------------------------------------


class AnyPrecisionConv(nn.Conv2d):
    def __init__(self, inputs, outputs, stride):
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)

    def forward(self, x, bits):
        mean = self.weight.detach().abs().mean()
        t = self.weight.tanh()
        w = t / t.abs().max()
        if bits != 32:
            w = 2 * Round.apply(w / 2 + 0.5, 2**bits - 1) - 1
        return F.conv2d(x, w * mean, None, self.stride, self.padding)


class NormPerWidth(nn.Module):
    def __init__(self, channels, widths):
        super().__init__()
        self.bn_dict = nn.ModuleDict({str(bits): nn.BatchNorm2d(channels) for bits in widths})

    def forward(self, x, bits):
        return self.bn_dict[str(bits)](x)


def activate(x, bits):
    return F.relu_(x) if bits == 32 else ClippedRound.apply(x, 2**bits - 1)


class AnyPrecisionBlock(nn.Module):
    def __init__(self, inputs, outputs, stride, widths):
        super().__init__()
        self.bn0, self.bn1 = NormPerWidth(inputs, widths), NormPerWidth(outputs, widths)
        self.conv0 = AnyPrecisionConv(inputs, outputs, stride)
        self.conv1 = AnyPrecisionConv(outputs, outputs, 1)
        self.skip_conv = None
        if stride != 1:
            self.skip_conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.skip_bn = nn.BatchNorm2d(outputs)  # one for all widths

    def forward(self, x, bits):
        codes = activate(self.bn0(x, bits), bits)
        if self.skip_conv is not None:
            x = self.skip_bn(self.skip_conv(codes))
        y = activate(self.bn1(self.conv0(codes, bits), bits), bits)
        return self.conv1(y, bits) + x


class AnyPrecisionResNet20(nn.Module):
    def __init__(self, widths=(1, 2, 4, 8, 32), expansion=1):
        super().__init__()
        self.widths, channels = sorted(widths, reverse=True), 16 * expansion
        self.conv0 = nn.Conv2d(3, channels, 3, 1, 1, bias=False)
        parts = stages(lambda *shape: AnyPrecisionBlock(*shape, widths), channels)
        self.layers = nn.ModuleList(itertools.chain(*parts))
        self.bn, self.fc = NormPerWidth(4 * channels, widths), nn.Linear(4 * channels, 10)

    def forward(self, x, bits):
        x = self.conv0(x)
        for layer in self.layers:
            x = layer(x, bits)
        return self.fc(self.bn(x, bits).mean((2, 3)))


# --- Ternary -------------------------------------------------------------------------------------


class TernaryConv(nn.Conv2d):
    def __init__(self, inputs, outputs, stride):
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, x):
        return F.conv2d(x, Ternary.apply(self.weight), None, self.stride, self.padding)


class TernaryLinear(nn.Linear):
    def forward(self, x):
        return F.linear(x, Ternary.apply(self.weight), self.bias)


class TernaryBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.pad = stride, outputs - inputs
        self.conv_a, self.bn_a = TernaryConv(inputs, outputs, stride), nn.BatchNorm2d(outputs)
        self.conv_b, self.bn_b = TernaryConv(outputs, outputs, 1), nn.BatchNorm2d(outputs)

    def forward(self, x):
        shortcut = x
        if self.stride != 1:
            shortcut = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self.pad))
        x = F.relu_(self.bn_a(self.conv_a(x)))
        return F.relu_(self.bn_b(self.conv_b(x)).add_(shortcut))


class TernaryResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_1_3x3, self.bn_1 = TernaryConv(3, 16, 1), nn.BatchNorm2d(16)
        self.stage_1, self.stage_2, self.stage_3 = stages(TernaryBlock, 16)
        self.classifier = TernaryLinear(64, 10)
        nn.init.kaiming_normal_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x):
        x = F.relu_(self.bn_1(self.conv_1_3x3(x)))
        x = self.stage_3(self.stage_2(self.stage_1(x)))
        return self.classifier(x.mean((2, 3)))


# --- McDonnell -----------------------------------------------------------------------------------


def he_normal(outputs, inputs, size):
    return nn.Parameter(nn.init.kaiming_normal_(torch.empty(outputs, inputs, size, size),
                                                mode="fan_out"))


def one_bit_conv(x, w, stride):
    return F.conv2d(x, Sign.apply(w, math.sqrt(2 / w[0].numel())), None, stride, 1)


class McDonnellBlock(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.stride, self.pad = stride, outputs - inputs
        self.conv0, self.conv1 = he_normal(outputs, inputs, 3), he_normal(outputs, outputs, 3)
        self.bn0 = nn.BatchNorm2d(inputs, affine=False)
        self.bn1 = nn.BatchNorm2d(outputs, affine=False)

    def forward(self, x):
        y = one_bit_conv(F.relu_(self.bn0(x)), self.conv0, self.stride)
        y = one_bit_conv(F.relu_(self.bn1(y)), self.conv1, 1)
        if self.stride != 1:
            x = F.pad(F.avg_pool2d(x, 3, 2, 1), (0, 0, 0, 0, 0, self.pad))
        return x + y


class McDonnellNet(nn.Module):
    """The wide ResNet of depth 20 and width 1."""

    def __init__(self):
        super().__init__()
        self.conv0, self.conv_last = he_normal(16, 3, 3), he_normal(10, 64, 1)
        for i, blocks in enumerate(stages(McDonnellBlock, 16)):
            names = collections.OrderedDict((f"block{k}", b) for k, b in enumerate(blocks))
            setattr(self, f"group{i}", nn.Sequential(names))
        self.bn, self.bn_last = nn.BatchNorm2d(64, affine=False), nn.BatchNorm2d(10)

    def forward(self, x):
        x = self.group2(self.group1(self.group0(F.conv2d(x, self.conv0, None, 1, 1))))
        x = F.conv2d(F.relu_(self.bn(x)), self.conv_last)
        return self.bn_last(x).mean((2, 3))


# --- What all share ------------------------------------------------------------------------------


def stages(block, channels):
    """Three stages of three blocks; the second and third halve the size and double the channels."""
    shapes = [(channels, channels), (channels, 2 * channels), (2 * channels, 4 * channels)]
    return [nn.Sequential(block(inputs, outputs, 1 if i == 0 else 2), block(outputs, outputs, 1),
                          block(outputs, outputs, 1))
            for i, (inputs, outputs) in enumerate(shapes)]


def train_step(model, optimizer, images, labels):
    """A step, forward to update; the losses' sum, over the widths where there are some."""
    optimizer.zero_grad(set_to_none=True)
    total, target = 0, None
    for bits in getattr(model, "widths", [None]):
        logits = model(images) if bits is None else model(images, bits)
        if target is None:
            loss = F.cross_entropy(logits, labels)
        else:
            loss = -(target * F.log_softmax(logits, 1)).sum(1).mean()
        loss.backward()
        total = total + loss.detach()
        target = logits.detach().softmax(1)  # recursive: the next width learns this one's
    optimizer.step()
    return total.item()


# Of each network: its class, parameters (methods.md 4.3, 1.4, 5.3 and 3.3), recipe with lbtrain's
# flags, batch, optimizer, and the folder of golden steps.
Case = collections.namedtuple("Case", "build parameters recipe flags batch optimizer golden")
CASES = {
    "recu/resnet20": Case(
        RecuResNet20, 270_522, "recu-resnet20-cifar10", [], 256,
        ("SGD", {"lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4}), "rc_resnet20"),
    "any-precision/resnet20": Case(
        AnyPrecisionResNet20, 277_978, "any-precision-resnet20-cifar10", ["--set", "expansion=1"],
        128, ("Adam", {"lr": 1e-3}), "ap_resnet20_small"),
    "ternary/resnet20": Case(
        TernaryResNet20, 269_722, "ternary-resnet20-cifar10", [], 128,
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 3e-4}),
        "tn_resnet20"),
    "mcdonnell/wrn-20-1": Case(
        McDonnellNet, 268_356, "mcdonnell-wrn-20-1-cifar10", [], 128,
        ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}), "wr_wrn20_1"),
}


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def make_optimizer(model, case, **more):
    name, options = case.optimizer
    version = tuple(int(part) for part in torch.__version__.split(".")[:2])
    fastest = "fused" if version >= (2, 4) else "foreach"  # fused runs on CPUs since 2.4
    return getattr(torch.optim, name)(model.parameters(), **{**options, fastest: True, **more})


def check(condition, message):
    if not condition:
        sys.exit(f"bench-python: {message}")


# --- The same work: golden steps -----------------------------------------------------------------


def check_golden(name, case, folder):
    """Takes the published steps in float64; their losses and the weights after them."""
    about = json.loads((folder / "case.json").read_text())
    arguments = {k: v for k, v in about["args"].items() if k in ("widths", "expansion")}
    model = case.build(**arguments).double()
    model.load_state_dict(torch.load(folder / "init.pt"))
    trace = torch.load(folder / "trace.pt")
    rate = about["optimizer"]["lr_per_step"][0]
    optimizer = make_optimizer(model, case, lr=rate)
    for step in range(about["steps"]):
        loss = train_step(model, optimizer, trace["input"][step].double(), trace["target"][step])
        wanted = trace[f"loss64.{step}.total"].item()
        check(abs(loss - wanted) <= 1e-9 * abs(wanted),
              f"{name}: loss {loss} in step {step} of {folder}, expected {wanted}")
    for key, value in model.state_dict().items():
        wanted = trace.get("after64." + key)
        gradient = trace.get("grad64." + key)
        only_noise = gradient is not None and gradient.abs().max() < 1e-12  # which Adam amplifies
        if wanted is None or only_noise or not value.is_floating_point():
            continue
        error = (value - wanted).norm() / wanted.norm().clamp(min=1e-30)
        check(error <= 1e-6, f"{name}: {key} after the steps of {folder} is off by {error:.1e}")


# --- Timing --------------------------------------------------------------------------------------


class Python:
    """A network in training on one random batch."""

    def __init__(self, case, layout, compiled):
        model = case.build().to(memory_format=layout)
        images = torch.randn(case.batch, 3, 32, 32).contiguous(memory_format=layout)
        self.labels = torch.randint(10, (case.batch,))
        self.images, self.optimizer = images, make_optimizer(model, case)
        self.model, self.run = model, torch.compile(model) if compiled else model
        self.name = "channels last" if layout == torch.channels_last else "NCHW"
        self.name += ", compiled" if compiled else ""
        self.losses = []

    def step(self):
        start = time.perf_counter()
        self.losses.append(train_step(self.run, self.optimizer, self.images, self.labels))
        return 1000 * (time.perf_counter() - start)

    def median(self, steps, warmup=WARMUP):
        return statistics.median([self.step() for _ in range(warmup + steps)][warmup:])


def fastest(case, compiling):
    settings = itertools.product((torch.contiguous_format, torch.channels_last),
                                 (False, True) if compiling else (False,))
    tried = [Python(case, layout, compiled) for layout, compiled in settings]
    times = [python.median(3) for python in tried]
    for python, milliseconds in zip(tried, times):
        print(f"  {python.name}: {milliseconds:.0f} ms", flush=True)
    return tried[times.index(min(times))]


def lbtrain_median(program, case, threads):
    recipe = ROOT / "trainer" / "recipes" / (case.recipe + ".toml")
    command = [program, "--bench", recipe, "--threads", str(threads), *case.flags]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    check(run.returncode == 0, f"{program} failed")
    head = re.search(r"batch (\d+), cpu,.* (\d+) threads, median of (\d+) steps", run.stdout)
    check(head and [int(x) for x in head.groups()] == [case.batch, threads, ROUND],
          f"{program} says {run.stdout!r}, expected a batch of {case.batch}, {threads} threads, "
          f"{ROUND} steps")
    return float(re.search(r"quantized +([0-9.]+) ms", run.stdout).group(1))


class Comparison:
    def __init__(self, program, name, threads, compiling):
        self.program, self.name, self.threads, self.case = program, name, threads, CASES[name]
        print(f"{name}, a trial of Python's settings:", flush=True)
        self.python = fastest(self.case, compiling)
        parameters = count(self.python.model)
        check(parameters == self.case.parameters,
              f"{name}: {parameters} parameters, expected {self.case.parameters}")
        self.ours, self.theirs = [], []

    def round(self, python_first):
        if python_first:
            self.theirs.append(self.python.median(ROUND))
        self.ours.append(lbtrain_median(self.program, self.case, self.threads))
        if not python_first:
            self.theirs.append(self.python.median(ROUND))

    def report(self):
        losses = self.python.losses
        check(all(map(math.isfinite, losses)) and statistics.median(losses[-5:]) < losses[0],
              f"{self.name}: the loss does not go down: {losses[0]}, ..., {losses[-5:]}")
        ratios = [theirs / ours for theirs, ours in zip(self.theirs, self.ours)]
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        print(f"{self.name}, batch {self.case.batch}: lbtrain {ours:.0f} ms a step, "
              f"Python {theirs:.0f} ms ({self.python.name}), ratio {theirs / ours:.2f}"
              + (f" (rounds: {min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else ""))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("lbtrain", help="the program to compare with")
    parser.add_argument("networks", nargs="*", metavar="network", choices=[[], *CASES],
                        help="of " + ", ".join(CASES) + " (default: all)")
    parser.add_argument("--steps", type=int, default=3 * ROUND,
                        help=f"of each program, in rounds of {ROUND} (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)),
                        help="CPU threads of each program (default: all)")
    parser.add_argument("--compile", action="store_true", help="try torch.compile as well")
    args = parser.parse_args()

    ctypes.CDLL(None).mallopt(-3, 1 << 30)         # M_MMAP_THRESHOLD, as in apps/lbtrain.cc
    ctypes.CDLL(None).mallopt(-1, (1 << 31) - 1)   # M_TRIM_THRESHOLD
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    rounds = max(1, math.ceil(args.steps / ROUND))
    names = args.networks or list(CASES)

    golden = pathlib.Path(os.environ.get("LBRT_SHARED", ROOT.parent / "shared")) / "golden"
    for name in names:
        folder = golden / CASES[name].golden
        if (folder / "case.json").exists():
            check_golden(name, CASES[name], folder)
            print(f"{name}: the golden steps of {folder.name}, as in lbtrain")
        else:
            print(f"{name}: not compared with golden steps, {folder} does not exist")
    comparisons = [Comparison(args.lbtrain, name, args.threads, args.compile) for name in names]
    print(f"PyTorch {torch.__version__}, {args.threads} threads, {rounds * ROUND} steps of each "
          f"program in rounds of {ROUND}", flush=True)
    for i in range(rounds):
        for comparison in comparisons:
            comparison.round(python_first=i % 2 == 0)
    for comparison in comparisons:
        comparison.report()


if __name__ == "__main__":
    main()
