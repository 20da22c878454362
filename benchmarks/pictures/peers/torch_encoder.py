"""The reward model's encoder by hand in PyTorch, as many threads as cores, Adam in one fused operation."""

import argparse
import time

import torch
from torch import nn
from torch.nn import functional

CHANNELS, BLOCKS, KEYPOINTS, SIDE, FRAMES = (16, 32, 64), 2, 32, 64, 1024


class Block(nn.Module):
    """x + conv(elu(conv(elu(norm(x)))))."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)  # over all of a picture, with a scale and an offset a channel
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x):
        """Of the same shape."""
        return x + self.second(functional.elu(self.first(functional.elu(self.norm(x)))))


class Model(nn.Module):
    """The encoder, and one linear output."""

    def __init__(self):
        super().__init__()
        layers, before = [], 3
        for channels in CHANNELS:
            layers += [nn.Conv2d(before, channels, 3, stride=2, padding=1), *(Block(channels) for _ in range(BLOCKS))]
            before = channels
        self.trunk = nn.Sequential(*layers, nn.GroupNorm(1, before), nn.ELU(), nn.Conv2d(before, KEYPOINTS, 1))
        line = torch.linspace(-1, 1, SIDE // 2 ** len(CHANNELS))
        y, x = torch.meshgrid(line, line, indexing="ij")
        self.register_buffer("grid", torch.stack([x.flatten(), y.flatten()], 1))
        self.head = nn.Linear(2 * KEYPOINTS, 1)

    def forward(self, pictures):
        """uint8[B, C, H, W] to float32[B]."""
        attention = self.trunk(pictures.float() / 127.5 - 1).flatten(2).softmax(-1)
        return self.head((attention @ self.grid).flatten(1))[:, 0]


def main():
    """Prints frames a second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layout", choices=("channels_last", "contiguous_format"), required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    layout = getattr(torch, options.layout)
    model = Model().to(memory_format=layout)
    pictures = torch.randint(0, 256, (FRAMES, 3, SIDE, SIDE), dtype=torch.uint8).contiguous(memory_format=layout)
    labels = torch.randint(0, 2, (FRAMES,)).float()
    optimiser = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    print("parameters", sum(p.numel() for p in model.parameters()))

    def train():
        frames = torch.randint(0, FRAMES, (options.batch,))
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(model(pictures[frames]), labels[frames]).backward()
        optimiser.step()

    @torch.inference_mode()
    def infer():
        return model(pictures[torch.randint(0, FRAMES, (options.batch,))]).sum().item()

    for name, run in (("training", train), ("inference", infer)):
        for _ in range(10):
            run()
        began, count, fastest = time.perf_counter(), 0, 0.0
        while time.perf_counter() - began < options.seconds:
            start = time.perf_counter()
            for _ in range(10):  # as many as ours makes in a call
                run()
            count += 10 * options.batch
            fastest = max(fastest, 10 * options.batch / (time.perf_counter() - start))
        print(name, count / (time.perf_counter() - began))
        print(f"{name}/fastest", fastest)


main()
