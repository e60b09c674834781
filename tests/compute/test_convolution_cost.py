import pytest

from simdml.calibration.curves import ConvolutionCurve, MatmulCurve, Tile
from simdml.costs.convolution import ConvolutionShape, convolution_seconds
from simdml.costs.matmul import MatmulUnit
from simdml.workload.operators import Family, Operator, Phase

PHASES = (Phase.FORWARD, Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT)
UNIT = MatmulUnit(10e12, 1e12, 50)
PRODUCTS = MatmulCurve(0.7, 30.0, 0.1, 0.7, 2.0, 16, 1e-5, (Tile(128, 128, 1.0), Tile(128, 64, 1.0)))


def operator(shape, phase=Phase.FORWARD):
    batch, c_in, c_out, kernel_h, kernel_w, out_h, out_w, stride, groups = shape
    flops = 2.0 * batch * out_h * out_w * c_in * c_out * kernel_h * kernel_w / groups
    inputs = 4.0 * batch * c_in * out_h * out_w * stride**2
    return Operator("conv", Family.CONVOLUTION, phase, flops, inputs, 4.0 * batch * c_out * out_h * out_w, shape, 4)


def curve(**changes):
    values = {"efficiency": 1.0, "winograd": 0.0, "input_gradient": 1.0, "weight_gradient": 1.0}
    return ConvolutionCurve(PRODUCTS, PRODUCTS, **(values | changes))


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "shape",
    [
        (32, 64, 128, 3, 3, 28, 28, 1, 1),
        (32, 64, 128, 3, 3, 28, 28, 2, 1),
        (8, 256, 64, 1, 1, 56, 56, 1, 1),
        (8, 256, 512, 1, 1, 28, 28, 2, 1),
        (4, 128, 128, 7, 1, 17, 17, 1, 1),
        (4, 128, 128, 3, 3, 28, 28, 1, 32),
    ],
)
def test_the_implicit_product_does_the_convolutions_flops(shape, phase):
    batch, m, n, k = ConvolutionShape(*shape).implicit_product(phase)
    assert 2.0 * batch * m * n * k == pytest.approx(operator(shape).flops, rel=0.12)


@pytest.mark.parametrize(("kernel", "saving"), [(3, 4.0), (5, 100 / 36)])
def test_winograd_saves_multiplications(kernel, saving):
    shape = (16, 64, 64, kernel, kernel, 28, 28, 1, 1)
    batch, m, n, k = ConvolutionShape(*shape).winograd_product(Phase.FORWARD)
    assert operator(shape).flops / (2.0 * batch * m * n * k) == pytest.approx(saving)


@pytest.mark.parametrize(
    "shape",
    [
        (16, 64, 64, 3, 3, 28, 28, 2, 1),
        (16, 64, 64, 1, 1, 28, 28, 1, 1),
        (16, 64, 64, 7, 1, 28, 28, 1, 1),
        (16, 64, 64, 3, 3, 28, 28, 1, 64),
    ],
)
def test_winograd_does_not_apply(shape):
    assert ConvolutionShape(*shape).winograd_product(Phase.FORWARD) is None


def test_winograd_pays_whole_tiles():
    seconds = [
        convolution_seconds(
            curve(winograd=1.0), MatmulUnit(10e12, 1e18, 50), operator((64, 256, 256, 3, 3, s, s, 1, 1))
        )
        for s in (12, 13, 16)
    ]
    assert seconds[1] == pytest.approx(seconds[2])
    assert seconds[0] < 0.99 * seconds[1]


def test_spectra_are_those_whose_products_are_the_convolution():
    """Three channels in and two out on a tile, by torch's transform: its frequencies are the products counted."""
    torch = pytest.importorskip("torch")
    images, kernel = torch.randn(4, 3, 28, 28, dtype=torch.float64), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    spectra, weights = torch.fft.rfft2(images, s=(32, 32)), torch.fft.rfft2(kernel, s=(32, 32)).conj()
    found = torch.fft.irfft2(torch.einsum("bcxy,ocxy->boxy", spectra, weights), s=(32, 32))[..., :24, :24]
    torch.testing.assert_close(found, torch.nn.functional.conv2d(images, kernel))
    shape = ConvolutionShape(4, 3, 2, 5, 5, 24, 24, 1, 1)
    products, m, n, k = shape.fourier_product(Phase.FORWARD)
    assert (products, m, n, k) == (4 * spectra[0, 0].numel(), 4, 2, 3)
    complex_bytes = 2 * 4 * (spectra.numel() + weights.numel() + products // 4 * m * n)
    assert shape.fourier_bytes == 2 * complex_bytes


@pytest.mark.parametrize(("kernel", "stride", "applies"), [(5, 1, True), (11, 1, True), (3, 1, False), (11, 4, False)])
def test_spectra_help_large_kernels_without_stride(kernel, stride, applies):
    plain = operator((256, 64, 192, kernel, kernel, 27, 27, stride, 1))
    with_transforms = curve(winograd=1e-6)
    assert ConvolutionShape(*plain.shape).has_fourier is applies
    faster = convolution_seconds(with_transforms, UNIT, plain) < convolution_seconds(curve(), UNIT, plain)
    assert faster is applies


def test_the_faster_algorithm_is_taken():
    plain = operator((32, 128, 128, 3, 3, 28, 28, 1, 1))
    slow, fast = curve(winograd=1e-3), curve(winograd=1.0)
    assert convolution_seconds(slow, UNIT, plain) == convolution_seconds(curve(), UNIT, plain)
    assert convolution_seconds(fast, UNIT, plain) < convolution_seconds(curve(), UNIT, plain)


@pytest.mark.parametrize("phase", [Phase.INPUT_GRADIENT, Phase.WEIGHT_GRADIENT])
def test_backward_efficiencies_apply_to_their_phase_alone(phase):
    shape = (64, 256, 256, 3, 3, 28, 28, 1, 1)
    slower = curve(**{phase.value: 0.5})
    compute_bound = MatmulUnit(1e12, 1e18, 50)
    ratio = convolution_seconds(slower, compute_bound, operator(shape, phase)) / convolution_seconds(
        curve(), compute_bound, operator(shape, phase)
    )
    assert ratio == pytest.approx(2.0, rel=0.01)
    assert convolution_seconds(slower, UNIT, operator(shape)) == convolution_seconds(curve(), UNIT, operator(shape))
