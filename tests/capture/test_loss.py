"""Losses of torch: what is recorded agrees with what the caller got.

Shapes: B samples, C classes, T tokens.
"""

from __future__ import annotations

import functools
import itertools
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import weightslab as wl
from tests.capture.recorded import curve, hand_out, said, samples, values

B, C, T = 6, 5, 4
NAMES = [f"s{i}" for i in range(B)]


def _material() -> dict[str, tuple[Callable[..., nn.Module], dict[str, Any], tuple[Any, ...]]]:
    torch.manual_seed(0)
    logits = torch.randn(B, C, requires_grad=True)
    labels = torch.randint(C, (B,))
    some = labels.clone()
    some[1] = some[4] = -100
    pixels = torch.randn(B, C, 3, 3, requires_grad=True)
    masks = torch.randint(C, (B, 3, 3))
    masks[0, :2] = 255
    masks[2] = 255
    tokens = torch.randn(B, C, T, requires_grad=True)
    words = torch.randint(C, (B, T))
    words[0, 2:] = -100
    flat_words = words.reshape(-1)
    flat_tokens = tokens.transpose(1, 2).reshape(-1, C)
    weight = torch.rand(C)
    p, q = torch.rand(B, 3, requires_grad=True), torch.rand(B, 3)
    sign = torch.ones(B)
    sign[::2] = -1
    signs = sign[:, None].expand(B, 3)
    speech = torch.randn(7, B, C).log_softmax(2).requires_grad_()
    spoken, heard = torch.randint(1, C, (B, 3)), torch.full((B,), 7)
    lengths = torch.tensor([1, 2, 3, 2, 0, 1])
    a, b, c = (torch.randn(B, 8, requires_grad=True) for _ in range(3))
    soft = torch.softmax(torch.randn(B, C), 1)
    multi = (torch.rand(B, C) > 0.5).float()
    indices = torch.randint(-1, C, (B, C))
    ce = nn.CrossEntropyLoss
    return {
        "cross entropy": (ce, {}, (logits, labels)),
        "some labels ignored": (ce, {}, (logits, some)),
        "class weights": (ce, {"weight": weight}, (logits, some)),
        "label smoothing": (ce, {"label_smoothing": 0.1}, (logits, some)),
        "smoothing, weights": (ce, {"label_smoothing": 0.1, "weight": weight}, (logits, some)),
        "soft targets": (ce, {"weight": weight}, (logits, soft)),
        "segmentation": (ce, {"ignore_index": 255}, (pixels, masks)),
        "segmentation, weights": (ce, {"ignore_index": 255, "weight": weight}, (pixels, masks)),
        "tokens [B, C, T]": (ce, {}, (tokens, words)),
        "tokens [B*T, C]": (ce, {}, (flat_tokens, flat_words)),
        "nll": (nn.NLLLoss, {"weight": weight}, (logits.log_softmax(1), some)),
        "mse": (nn.MSELoss, {}, (p, q)),
        "l1": (nn.L1Loss, {}, (p, q)),
        "smooth l1": (nn.SmoothL1Loss, {}, (p, q)),
        "huber": (nn.HuberLoss, {}, (p, q)),
        "bce": (nn.BCELoss, {"weight": torch.rand(3)}, (p, q)),
        "bce with logits": (nn.BCEWithLogitsLoss, {"pos_weight": torch.rand(3)}, (p, q)),
        "kl": (nn.KLDivLoss, {}, (p.log_softmax(1), q.softmax(1))),
        "poisson": (nn.PoissonNLLLoss, {}, (p, q)),
        "gaussian": (nn.GaussianNLLLoss, {}, (p, q, torch.rand(B, 3) + 0.1)),
        "hinge embedding": (nn.HingeEmbeddingLoss, {}, (p, signs)),
        "cosine embedding": (nn.CosineEmbeddingLoss, {}, (a, b, sign)),
        "margin ranking": (nn.MarginRankingLoss, {}, (p[:, 0], q[:, 0], sign)),
        "soft margin": (nn.SoftMarginLoss, {}, (p, signs)),
        "multi margin": (nn.MultiMarginLoss, {}, (logits, labels)),
        "multi-label margin": (nn.MultiLabelMarginLoss, {}, (logits, indices)),
        "multi-label soft margin": (nn.MultiLabelSoftMarginLoss, {}, (logits, multi)),
        "triplet": (nn.TripletMarginLoss, {}, (a, b, c)),
        "triplet with distance": (nn.TripletMarginWithDistanceLoss, {}, (a, b, c)),
        "ctc": (nn.CTCLoss, {"zero_infinity": True}, (speech, spoken, heard, lengths)),
    }


MATERIAL = _material()


@pytest.mark.parametrize(
    ("kind", "reduction"),
    [*itertools.product(MATERIAL, ["mean", "sum", "none"]), ("kl", "batchmean")],
)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # torch, of its own kl
def test_recorded_values_reduce_to_what_the_caller_got(kind: str, reduction: str) -> None:
    """The mean over the recorded samples is the caller's mean, and the sum its sum."""
    make, options, args = MATERIAL[kind]
    plain = make(reduction=reduction, **options)
    watched = wl.watch_or_edit(plain, signal_name="loss")
    hand_out(NAMES)
    got = watched(*args).detach().double()
    kept = torch.tensor(values("loss"))
    reduced = kept.sum() if reduction == "sum" else kept.mean()
    torch.testing.assert_close(reduced, got.mean().float(), rtol=1e-5, atol=1e-6)
    assert said() == []


@pytest.mark.parametrize("kind", MATERIAL)
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")
def test_result_and_gradients_keep_their_bits(kind: str) -> None:
    """A watched loss gives the same bits, and the same gradients, as the plain one."""
    make, options, args = MATERIAL[kind]
    plain = make(**options)
    watched = wl.watch_or_edit(plain, signal_name="loss")
    hand_out(NAMES)
    leaves = [t for t in args if isinstance(t, Tensor) and t.requires_grad]
    expected = plain(*args)
    wanted = torch.autograd.grad(expected, leaves, retain_graph=True)
    got = watched(*args)
    found = torch.autograd.grad(got, leaves, retain_graph=True)
    assert torch.equal(got, expected)
    assert all(torch.equal(x, y) for x, y in zip(found, wanted, strict=True))


def test_every_sample_gets_its_own_loss() -> None:
    """With a plain mean each sample has the value that reduction="none" gives it."""
    _, _, (logits, labels) = MATERIAL["cross entropy"]
    hand_out(NAMES)
    wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")(logits, labels)
    wanted = F.cross_entropy(logits, labels, reduction="none").tolist()
    assert samples("loss") == [
        (name, 0, pytest.approx(value)) for name, value in zip(NAMES, wanted, strict=True)
    ]


def test_a_sample_without_labels_has_no_loss() -> None:
    """A sample whose every label is ignored is not recorded as a perfect one."""
    _, _, (logits, some) = MATERIAL["some labels ignored"]
    hand_out(NAMES)
    wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")(logits, some)
    assert [row[0] for row in samples("loss")] == ["s0", "s2", "s3", "s5"]


def test_all_labels_ignored_goes_to_the_curve() -> None:
    """A batch without any label records no sample; the caller's NaN is on the curve."""
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")
    loss(torch.randn(B, C), torch.full((B,), -100))
    assert samples("loss") == []
    assert [str(value) for _, value in curve("loss")] == ["nan"]


@pytest.mark.parametrize("transposed", [False, True])
def test_flattened_tokens_find_their_sample(transposed: bool) -> None:
    """Views remember whether [B, T] or [T, B] was flattened, and values are folded so."""
    shape = (T, B) if transposed else (B, T)
    logits = torch.randn(*shape, C, requires_grad=True)
    words = torch.randint(C, shape)
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")
    loss(logits.view(-1, C), words.view(-1))
    each = F.cross_entropy(logits.view(-1, C), words.view(-1), reduction="none").view(shape)
    assert values("loss") == pytest.approx(each.mean(0 if transposed else 1).tolist())


def test_two_views_of_a_sample_are_not_folded_as_tokens() -> None:
    """Rows that were concatenated are not neighbours: they are refused, not mixed up."""
    half = torch.randn(B, C, requires_grad=True)
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")
    with pytest.warns(wl.WeightsLabWarning, match="has 12 values but the current batch has 6"):
        loss(torch.cat([half, half * 2]), torch.randint(C, (2 * B,)))
    assert samples("loss") == []
    assert len(curve("loss")) == 1


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (F.cross_entropy, {}),
        (F.cross_entropy, {"label_smoothing": 0.1}),
        (F.cross_entropy, {"reduction": "sum"}),
        (functools.partial(F.cross_entropy, label_smoothing=0.2), {}),
        (lambda x, y: 1 * x if y is None else F.cross_entropy(x, y), {}),
    ],
    ids=["mean", "smoothing", "sum", "partial", "lambda around it"],
)
def test_functions_are_captured_like_modules(
    function: Callable[..., Tensor], options: dict[str, Any]
) -> None:
    """A loss function of torch, a partial of it, and a lambda around it are all captured."""
    _, _, (logits, labels) = MATERIAL["cross entropy"]
    hand_out(NAMES)
    got = wl.watch_or_edit(function, flag="loss", signal_name="loss")(logits, labels, **options)
    kept = torch.tensor(values("loss"))
    reduced = kept.sum() if options.get("reduction") == "sum" else kept.mean()
    torch.testing.assert_close(reduced, got.detach())
    assert len(kept) == B


@pytest.mark.parametrize("legacy", [{"size_average": False}, {"reduce": False}])
@pytest.mark.filterwarnings("ignore:size_average and reduce args:UserWarning")
def test_legacy_reductions_are_understood(legacy: dict[str, bool]) -> None:
    """`size_average=` and `reduce=` of old code fold as what they mean."""
    _, _, (p, q) = MATERIAL["mse"]
    hand_out(NAMES)
    got = wl.watch_or_edit(F.mse_loss, flag="loss", signal_name="loss")(p, q, **legacy)
    folded = got.sum() if got.ndim == 0 else got.mean(1).sum()
    assert sum(values("loss")) == pytest.approx(folded.item())


def test_weighted_mse_divides_by_its_weights() -> None:
    """A `weight=` of mse enters the caller's denominator, and ours."""
    _, _, (p, q) = MATERIAL["mse"]
    hand_out(NAMES)
    loss = wl.watch_or_edit(F.mse_loss, flag="loss", signal_name="loss")
    got = loss(p, q, weight=torch.rand(B, 3))
    assert sum(values("loss")) / B == pytest.approx(got.item())


def test_bfloat16_autocast() -> None:
    """Under bfloat16 autocast the values are those that the training sees."""
    layer = nn.Linear(4, C)
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(label_smoothing=0.1), signal_name="loss")
    mse = wl.watch_or_edit(nn.MSELoss(), signal_name="mse")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = layer(torch.randn(B, 4))
        got = loss(out, torch.randint(C, (B,)))
        square = mse(out, torch.zeros(B, C, dtype=torch.bfloat16))
    assert sum(values("loss")) / B == pytest.approx(got.item(), rel=1e-5)
    assert sum(values("mse")) / B == pytest.approx(square.item(), rel=1e-2)


def test_somebody_elses_scalar_loss_is_never_called_twice() -> None:
    """A module of the user runs once; its number is on the curve and the way out is said."""

    class Counted(nn.Module):
        calls = 0

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            Counted.calls += 1
            return (x - y).abs().max()

    hand_out(NAMES)
    loss = wl.watch_or_edit(Counted(), flag="loss", signal_name="own")
    with pytest.warns(wl.WeightsLabWarning, match=r"wl\.save_signals"):
        loss(torch.randn(B), torch.randn(B))
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        loss(torch.randn(B), torch.randn(B))
    assert Counted.calls == 2
    assert samples("own") == []
    assert len(curve("own")) == 2


def test_a_subclass_with_its_own_forward_is_somebody_elses() -> None:
    """A subclass of a torch loss that overrides `forward` is not called again."""

    class Noisy(nn.MSELoss):
        def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
            return super().forward(input + torch.randn_like(input), target)

    hand_out(NAMES)
    loss = wl.watch_or_edit(Noisy(), signal_name="noisy")
    torch.manual_seed(1)
    with pytest.warns(wl.WeightsLabWarning, match="one number for the whole batch"):
        loss(torch.zeros(B), torch.zeros(B))
    after = torch.rand(1)
    torch.manual_seed(1)
    torch.randn(B)
    assert torch.equal(after, torch.rand(1))


def test_unequal_shapes_are_warned_of_once_by_torch() -> None:
    """The second call of a loss does not repeat torch's own warning."""
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.MSELoss(), signal_name="mse")
    with pytest.warns(UserWarning, match="Using a target size") as caught:
        loss(torch.randn(B, 1), torch.randn(1, 1))
    assert len(caught) == 1


def test_a_checkpointed_loss_is_recorded_once() -> None:
    """The recompute of a checkpoint in `backward` records nothing."""
    from torch.utils.checkpoint import checkpoint

    _, _, (logits, labels) = MATERIAL["cross entropy"]
    hand_out(NAMES)
    loss = wl.watch_or_edit(nn.CrossEntropyLoss(), signal_name="loss")
    checkpoint(loss, logits, labels, use_reentrant=False).backward()
    assert len(samples("loss")) == B


def test_training_is_bit_identical() -> None:
    """A loop with everything watched ends with the weights of the plain loop."""

    def run(watched: bool) -> list[Tensor]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, C))
        optimizer = torch.optim.Adam(model.parameters())
        loss = nn.CrossEntropyLoss(label_smoothing=0.1)
        if watched:
            model = wl.watch_or_edit(model, flag="model")
            optimizer = wl.watch_or_edit(optimizer)
            loss = wl.watch_or_edit(loss, signal_name="loss")
            hand_out(NAMES)
        for _ in range(20):
            optimizer.zero_grad()
            loss(model(torch.randn(B, 4)), torch.randint(C, (B,))).backward()
            optimizer.step()
        return [*model.parameters(), torch.rand(1)]

    plain, seen = run(watched=False), run(watched=True)
    assert all(torch.equal(x, y) for x, y in zip(plain, seen, strict=True))
    assert len(samples("loss")) == 20 * B
