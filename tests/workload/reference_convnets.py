"""Convolutional networks in plain torch, with the modules and parameter order of torchvision."""

import torch
from torch import nn


class AlexNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
            nn.AdaptiveAvgPool2d(6),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 36, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class VGG16(nn.Module):
    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
            if width == 0:
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 49, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride, downsample):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, 4 * planes, 1, bias=False), nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if downsample:
            shortcut = nn.Conv2d(inputs, 4 * planes, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    def __init__(self, counts):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1, self.maxpool = nn.BatchNorm2d(64), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for stage, count in enumerate(counts):
            planes = 64 << stage
            blocks = []
            for number in range(count):
                stride = 2 if stage and not number else 1
                blocks.append(Bottleneck(inputs, planes, stride, number == 0))
                inputs = 4 * planes
            setattr(self, f"layer{stage + 1}", nn.Sequential(*blocks))
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)).relu())
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(self.avgpool(x).flatten(1))


class Conv(nn.Module):
    def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x)).relu()


def row(inputs, outputs, size=7):
    return Conv(inputs, outputs, (1, size), padding=(0, size // 2))


def column(inputs, outputs, size=7):
    return Conv(inputs, outputs, (size, 1), padding=(size // 2, 0))


class Branches(nn.Module):
    def __init__(self, *branches):
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def module_a(inputs, pool):
    return Branches(
        Conv(inputs, 64, 1),
        nn.Sequential(Conv(inputs, 48, 1), Conv(48, 64, 5, padding=2)),
        nn.Sequential(Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(inputs, pool, 1)),
    )


def module_b(inputs):
    return Branches(
        Conv(inputs, 384, 3, stride=2),
        nn.Sequential(Conv(inputs, 64, 1), Conv(64, 96, 3, padding=1), Conv(96, 96, 3, stride=2)),
        nn.MaxPool2d(3, 2),
    )


def module_c(c):
    return Branches(
        Conv(768, 192, 1),
        nn.Sequential(Conv(768, c, 1), row(c, c), column(c, 192)),
        nn.Sequential(Conv(768, c, 1), column(c, c), row(c, c), column(c, c), row(c, 192)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(768, 192, 1)),
    )


def module_d():
    return Branches(
        nn.Sequential(Conv(768, 192, 1), Conv(192, 320, 3, stride=2)),
        nn.Sequential(Conv(768, 192, 1), row(192, 192), column(192, 192), Conv(192, 192, 3, stride=2)),
        nn.MaxPool2d(3, 2),
    )


def module_e(inputs):
    def fork():
        return Branches(row(384, 384, 3), column(384, 384, 3))

    return Branches(
        Conv(inputs, 320, 1),
        nn.Sequential(Conv(inputs, 384, 1), fork()),
        nn.Sequential(Conv(inputs, 448, 1), Conv(448, 384, 3, padding=1), fork()),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), Conv(inputs, 192, 1)),
    )


class InceptionV3(nn.Module):
    def __init__(self, auxiliary=False):
        super().__init__()
        self.stem = nn.Sequential(
            Conv(3, 32, 3, stride=2),
            Conv(32, 32, 3),
            Conv(32, 64, 3, padding=1),
            nn.MaxPool2d(3, 2),
            Conv(64, 80, 1),
            Conv(80, 192, 3),
            nn.MaxPool2d(3, 2),
        )
        self.mixed_5 = nn.Sequential(module_a(192, 32), module_a(256, 64), module_a(288, 64))
        self.mixed_6 = nn.Sequential(module_b(288), *(module_c(c) for c in (128, 160, 160, 192)))
        self.auxiliary = None
        if auxiliary:
            self.auxiliary = nn.Sequential(
                nn.AvgPool2d(5, 3),
                Conv(768, 128, 1),
                Conv(128, 768, 5),
                nn.AdaptiveAvgPool2d(1),
                nn.Flatten(),
                nn.Linear(768, 1000),
            )
        self.mixed_7 = nn.Sequential(module_d(), module_e(1280), module_e(2048))
        self.avgpool, self.dropout, self.fc = nn.AdaptiveAvgPool2d(1), nn.Dropout(), nn.Linear(2048, 1000)

    def forward(self, x):
        x = self.mixed_6(self.mixed_5(self.stem(x)))
        y = self.fc(self.dropout(self.avgpool(self.mixed_7(x))).flatten(1))
        return y.sum() + self.auxiliary(x).sum() if self.auxiliary is not None else y
