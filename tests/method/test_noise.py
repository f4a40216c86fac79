"""Keyed random numbers: SplitMix64's published sequence, normal, independent between keys."""

import math

import torch

from rlfr_mm.method.noise import folded, normals


def splitmix64(seed: int, count: int) -> list[int]:
    """The generator as published, in Python's integers."""
    out, word = [], 2**64 - 1
    for _ in range(count):
        seed = (seed + 0x9E3779B97F4A7C15) & word
        z = ((seed ^ (seed >> 30)) * 0xBF58476D1CE4E5B9) & word
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & word
        out.append(z ^ (z >> 31))
    return out


def test_numbers_are_box_muller_on_the_published_sequence_of_each_key():
    assert splitmix64(0, 2) == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4]  # the reference implementation's first numbers
    keys = [0, 1, 2**62 + 5, -3]
    got = normals(torch.tensor(keys), 5)
    for key, row in zip(keys, got.tolist(), strict=True):
        bits = splitmix64(key % 2**64, 3)
        radius = [math.sqrt(-2 * math.log(((b >> 32) + 0.5) / 2**32)) for b in bits]
        angle = [2 * math.pi * (b & (2**32 - 1)) / 2**32 for b in bits]
        cosines = [r * math.cos(a) for r, a in zip(radius, angle, strict=True)]
        sines = [r * math.sin(a) for r, a in zip(radius, angle, strict=True)]
        torch.testing.assert_close(torch.tensor(row), torch.tensor([*cosines, *sines][:5]), rtol=1e-5, atol=2e-6)


def test_numbers_are_standard_normal_and_independent_between_neighbouring_keys():
    tokens = torch.arange(4000)
    keys = torch.cat([folded(torch.full_like(tokens, sample), tokens, 2) for sample in (7, 8, 9)])
    x = normals(keys, 16).double()
    assert abs(x.mean()) < 0.01 and abs(x.std() - 1) < 0.01
    assert abs(x.pow(3).mean()) < 0.03 and abs(x.pow(4).mean() - 3) < 0.06
    for a, b in ((x[:-1], x[1:]), (x[:4000], x[4000:8000]), (x[:, :-1], x[:, 1:]), (x[:, :8], x[:, 8:])):
        assert abs((a * b).mean()) < 0.015 and abs((a.square() * b.square()).mean() - 1) < 0.03


def test_folding_depends_on_every_value_and_on_their_order():
    keys = torch.zeros(1, dtype=torch.long)
    made = [folded(keys, *values).item() for values in ((0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 1))]
    assert len(set(made)) == len(made)
    assert folded(torch.tensor([5, 5]), torch.tensor([1, 2]))[1] == folded(torch.tensor([5]), 2)[0]
