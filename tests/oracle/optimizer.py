"""tests/fixtures/optimizer: ten steps of each optimiser.

steps.safetensors: for each shape NAME the start x0.NAME, gradients.NAME [10, ...], and after ten steps x, m, v of
torch.optim.AdamW and x, m, row, column of Adafactor, as KIND.x.NAME and so on; steps.json has the settings.

Adafactor is that of Shazeer and Stern (2018, arXiv:1804.04235: factored second moments, section 3; update clipping,
section 6) with a constant decay beta2 corrected as Adam's (section 7.1), momentum on the update with the rate inside, and
no relative step, as Tensor2Tensor and Praxis have it ("decay_type adam", beta1). Written here in float64 from the paper;
transformers' Adafactor, its decay exponent set at each step so that its decay is this one, must agree.

all.safetensors, lora.safetensors: the weights after ten steps of AdamW on a golden case's own batch, by the reference in
float64; the .json beside has the settings, the losses and gradient norms before each step, and the error that the
reference makes in float32.
"""

import math

import common

common.need_reference()
import make_golden  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers.optimization import Adafactor  # noqa: E402

STEPS = 10
TARGET = common.FIXTURES / "optimizer"
SHAPES = {"5x7": (5, 7), "1x9": (1, 9), "6x1": (6, 1), "33": (33,), "24x40": (24, 40)}
SETTINGS = dict(beta1=0.9, beta2=0.99, epsilon=1e-8, weight_decay=0.1)
RATES = [1e-2 * min(1, (step + 1) / 4) for step in range(STEPS)]


def draw(rng):
    start, gradients = {}, {}
    for name, shape in SHAPES.items():
        start[name] = rng.normal(0, 1, shape).astype(np.float32)
        size = 10.0 ** rng.uniform(-6, 1, shape[0]).reshape((-1,) + (1,) * (len(shape) - 1))  # rows differ in size
        g = rng.normal(0, 1, (STEPS, *shape)) * size * 10.0 ** rng.uniform(-1, 1, (STEPS,) + (1,) * len(shape))
        if name == "24x40":  # tokens that were never seen
            g[:, 3] = 0
            g[:5, 8] = 0
            g[:, :, 2] = 0
        gradients[name] = g.astype(np.float32)
    return start, gradients


def run_torch(optimizer, x, gradients, before_step=lambda step: None):
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATES[step]
        before_step(step)
        x.grad = torch.from_numpy(gradients[step]).to(x.dtype)
        optimizer.step()
    return optimizer.state[x]


def adamw(start, gradients):
    x = torch.nn.Parameter(torch.tensor(start).double())
    s = SETTINGS
    state = run_torch(torch.optim.AdamW([x], betas=(s["beta1"], s["beta2"]), eps=s["epsilon"],
                                        weight_decay=s["weight_decay"]), x, gradients)
    return {"x": x.detach(), "m": state["exp_avg"], "v": state["exp_avg_sq"]}


def decay(step):
    """beta2 with Adam's correction in it; step counts from 1."""
    b = SETTINGS["beta2"]
    return b * (1 - b ** (step - 1)) / (1 - b ** step)


def adafactor(start, gradients):
    s, x, m = SETTINGS, start.astype(np.float64), 0.0
    floor = max(s["epsilon"] ** 2, 1e-30)
    factored = min(x.shape) > 1 and x.ndim == 2
    row = column = 0.0
    for step, g in enumerate(gradients.astype(np.float64), 1):
        b, square, rate = decay(step), g * g + floor, RATES[step - 1]
        if factored:
            row, column = b * row + (1 - b) * square.mean(1), b * column + (1 - b) * square.mean(0)
            v = np.outer(row, column) / row.mean()
        else:
            row = b * row + (1 - b) * square
            v = row
        u = g / np.sqrt(v)
        u /= max(1.0, math.sqrt((u * u).mean()))
        m = s["beta1"] * m + (1 - s["beta1"]) * rate * u
        x = x - rate * s["weight_decay"] * x - m
    return {"x": x, "m": m, "row": row.reshape(-1)} | ({"column": column} if factored else {})


def second_opinion(start, gradients, want):
    """transformers on the same."""
    s, x = SETTINGS, torch.nn.Parameter(torch.tensor(start))
    optimizer = Adafactor([x], lr=1.0, eps=(s["epsilon"] ** 2, 1e-3), clip_threshold=1.0, decay_rate=-0.8,
                          beta1=s["beta1"], weight_decay=s["weight_decay"], scale_parameter=False, relative_step=False,
                          warmup_init=False)

    def set_decay(step):  # theirs: 1 - step^decay_rate
        for group in optimizer.param_groups:
            group["decay_rate"] = math.log(1 - decay(step + 1)) / math.log(step + 1) if step else -1.0

    state = run_torch(optimizer, x, gradients, set_decay)
    for name, got in (("x", x.detach()), ("m", state["exp_avg"])):
        error = np.abs(got.numpy() - want[name]).max() / np.abs(want[name]).max()
        if not error < 1e-5:
            raise SystemExit(f"Adafactor {name}: transformers differs by {error:.2e}")


def write_steps():
    rng = np.random.default_rng(7)
    start, gradients = draw(rng)
    tensors = {}
    for name in SHAPES:
        tensors |= {f"x0.{name}": start[name], f"gradients.{name}": gradients[name]}
        want = adafactor(start[name], gradients[name])
        second_opinion(start[name], gradients[name], want)
        for kind, result in (("adamw", adamw(start[name], gradients[name])), ("adafactor", want)):
            tensors |= {f"{kind}.{part}.{name}": np.asarray(value, np.float32) for part, value in result.items()}
    common.write_tensors(TARGET / "steps.safetensors", tensors)
    common.write_json(TARGET / "steps.json", SETTINGS | {"rates": RATES, "shapes": list(SHAPES)})


# ---- ten steps of a model --------------------------------------------------------------------------------------------

MODEL = dict(kind="adamw", beta1=0.9, beta2=0.99, epsilon=1e-4, weight_decay=0.1, learning_rate=3e-3,
             prompt_learning_rate=1e-2, clip=1.0)
CASES = {"all": "fam_train_rms", "lora": "fam_lora_train"}


def train(directory, dtype):
    """-> (losses before each step and after the last, gradient norms, weights)"""
    case, model, arguments = make_golden.load_case(directory, dtype)
    names, s = model.trainable(), MODEL
    for name in names:
        model.w[name].requires_grad_()
    groups = [{"params": [model.w[name]], "lr": s["prompt_learning_rate"] if name == "fam.prompt" else s["learning_rate"],
               "weight_decay": s["weight_decay"] if model.w[name].ndim == 2 and name != "fam.prompt" else 0.0}
              for name in names]
    optimizer = torch.optim.AdamW(groups, betas=(s["beta1"], s["beta2"]), eps=s["epsilon"])
    weights = torch.tensor(case["loss_weights"], dtype=dtype)
    loss = lambda: make_golden.fam_ref.weighted_loss(model.forward(**arguments).logits, arguments["tokens"], weights)
    losses, norms = [], []
    for _ in range(STEPS):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        norm = math.sqrt(sum((model.w[name].grad.double() ** 2).sum().item() for name in names))
        for name in names:
            model.w[name].grad *= min(1.0, s["clip"] / norm)
        losses.append(value.item())
        norms.append(norm)
        optimizer.step()
    with torch.no_grad():
        losses.append(loss().item())
    return losses, norms, {name: model.w[name].detach() for name in names}


def write_model(name, case):
    directory = common.ROOT / "tests" / "golden" / case
    losses, norms, weights = train(directory, torch.float64)
    narrow_losses, narrow_norms, narrow = train(directory, torch.float32)
    worst = lambda got, want: max(abs(a - b) / abs(b) for a, b in zip(got, want))
    error = {"losses": worst(narrow_losses, losses), "norms": worst(narrow_norms, norms),
             "weights": max(make_golden.relative_error(narrow[key], weights[key]) for key in weights)}
    common.write_tensors(TARGET / f"{name}.safetensors", {key: value.float().numpy() for key, value in weights.items()})
    common.write_json(TARGET / f"{name}.json", MODEL | {"case": case, "steps": STEPS, "losses": losses, "norms": norms,
                                                        "float32_error": {k: float(f"{v:.1e}") for k, v in error.items()}})


torch.set_num_threads(1)
write_steps()
for key, value in CASES.items():
    write_model(key, value)
