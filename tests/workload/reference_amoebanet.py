"""AmoebaNet-D in plain torch, after the reference's lists of operations and used states (amoeba_net_d)."""

import torch
from torch import nn

OPERATIONS = {
    False: ["1x1", "max3", "none", "1x7", "1x1", "1x7", "max3", "none", "avg3", "1x1"],
    True: ["max2", "max3", "none", "3x3", "1x7", "max3", "none", "max2", "avg3", "1x1"],
}
INDICES = {False: (1, 1, 1, 0, 0, 0, 2, 2, 1, 5), True: (0, 0, 2, 1, 2, 2, 3, 1, 2, 3)}
USED = {False: (0, 1, 1, 0, 0, 1, 0), True: (1, 1, 1, 1, 0, 0, 0)}


def unit(inputs, outputs, kernel, stride=1):
    padding = tuple(k // 2 for k in kernel)
    return [nn.ReLU(), nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs)]


class Halved(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.one, self.two = (nn.Conv2d(inputs, outputs // 2, 1, 2, bias=False) for _ in range(2))
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        x = x.relu()
        return self.bn(torch.cat([self.one(x), self.two(x)], 1))


def operation(name, c, stride):
    if name == "none":
        return nn.Identity()
    if name.startswith("max"):
        return nn.MaxPool2d(int(name[3]), stride, 1 if name == "max3" else 0)
    if name == "avg3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name == "1x1":
        return nn.Sequential(*unit(c, c, (1, 1), stride))
    inner = unit(c // 4, c // 4, (3, 3), stride) if name == "3x3" else []
    if name == "1x7":
        inner = unit(c // 4, c // 4, (1, 7)) + unit(c // 4, c // 4, (7, 1))
    return nn.Sequential(*unit(c, c // 4, (1, 1)), *inner, *unit(c // 4, c, (1, 1)))


class Cell(nn.Module):
    def __init__(self, newest, before, c, reduces, halves):
        super().__init__()
        self.reduce1 = nn.Sequential(*unit(newest, c, (1, 1)))
        same = nn.Identity() if before == c else nn.Sequential(*unit(before, c, (1, 1)))
        self.reduce2 = Halved(before, c) if halves else same
        self.indices = INDICES[reduces]
        self.joined = [state for state, used in enumerate(USED[reduces]) if not used]
        self.operations = nn.ModuleList(
            operation(name, c, 2 if reduces and state < 2 else 1)
            for name, state in zip(OPERATIONS[reduces], self.indices, strict=True)
        )

    def forward(self, newest, before):
        states = [self.reduce1(newest), self.reduce2(before)]
        for k in range(0, 10, 2):
            a, b = (self.operations[n](states[self.indices[n]]) for n in (k, k + 1))
            states.append(a + b)
        return torch.cat([states[state] for state in self.joined], 1)


class AmoebaNetD(nn.Module):
    def __init__(self, layers, filters):
        super().__init__()
        c = filters // 4
        self.stem = nn.Sequential(nn.Conv2d(3, c, 3, 2, 1, bias=False), nn.BatchNorm2d(c))
        kinds = [True, True, *[False] * (layers // 3), True, *[False] * (layers // 3), True, *[False] * (layers // 3)]
        newest = before = c
        cells, halves = [], False
        for reduces in kinds:
            c *= 2 if reduces else 1
            cells.append(Cell(newest, before, c, reduces, halves))
            newest, before, halves = c * len(cells[-1].joined), newest, reduces
        self.cells, self.fc = nn.ModuleList(cells), nn.Linear(newest, 1000)

    def forward(self, x):
        newest = before = self.stem(x)
        for cell in self.cells:
            newest, before = cell(newest, before), newest
        return self.fc(newest.mean((2, 3)))
