"""LL4xx: `optimizer_args`."""

from collections.abc import Iterator

from lora_lab.config import arguments
from lora_lab.lint.rates import family
from lora_lab.lint.rule import Hit, View, rule

_KEYS = ("optimizer_args", "optimizer_type", "use_8bit_adam")
_TORCH = "https://docs.pytorch.org/docs/stable/generated/torch.optim.AdamW.html"
_PRODIGY = "https://github.com/konstmish/prodigy README"
_ADAFACTOR = "https://huggingface.co/docs/transformers/main_classes/optimizer_schedules#transformers.Adafactor"

_OF_ALL = ("weight_decay", "maximize", "foreach", "differentiable", "fused")
KNOWN = {
    "adamw": frozenset({"betas", "eps", "amsgrad", "capturable", *_OF_ALL}),
    "sgdnesterov": frozenset({"momentum", "dampening", "nesterov", *_OF_ALL}),
    "adafactor": frozenset(
        {"eps", "clip_threshold", "decay_rate", "beta1", "weight_decay", "scale_parameter", "relative_step"}
        | {"warmup_init"}
    ),
}
"""What the classes of torch and transformers take; packages that may change are not listed."""


@rule("LL412", "learning-rate-in-optimizer-args", "error", reads=_KEYS, source="lora_lab/train/optimizer.py")
def learning_rate_in_optimizer_args(view: View) -> Iterator[Hit]:
    """The learning rate stands in `optimizer_args`.

    What it does
    Looks for `lr` there.

    Why is this bad
    The trainer gives the optimizer `learning_rate`, and two learning rates are refused.

    Bad
    ```json
    {"optimizer_args": ["lr=0.0002"]}
    ```

    Good
    ```json
    {"learning_rate": 2e-4, "optimizer_args": ["weight_decay=0.1"]}
    ```
    """
    if "lr" in arguments(view.config.optimizer_args):
        yield Hit(
            "lr in optimizer_args: the learning rate has a key of its own", ("optimizer_args",), "use learning_rate"
        )


@rule("LL413", "unknown-optimizer-argument", "error", reads=_KEYS, source=f"{_TORCH}; {_ADAFACTOR}")
def unknown_optimizer_argument(view: View) -> Iterator[Hit]:
    """An argument is none of the optimizer's.

    What it does
    Compares the names in `optimizer_args` with what AdamW, SGDNesterov and AdaFactor take.

    Why is this bad
    The run stops when the optimizer is made. Often the argument is left over from another optimizer.

    Bad
    ```json
    {"optimizer_type": "AdamW", "optimizer_args": ["weight_decay=0.1", "decouple=True"]}
    ```

    Good
    ```json
    {"optimizer_type": "AdamW", "optimizer_args": ["weight_decay=0.1"]}
    ```
    """
    known = KNOWN.get(view.config.optimizer_type.casefold())
    if known is None or view.config.use_8bit_adam:
        return
    for name in arguments(view.config.optimizer_args):
        if name not in known and name not in {"lr", "params"}:
            message = f"{view.config.optimizer_type} has no argument {name}"
            near = next((one for one in sorted(known) if one.casefold() == name.casefold()), None)
            remedy = f"did you mean {near}?" if near else f"it takes {', '.join(sorted(known))}"
            yield Hit(message, ("optimizer_args", "optimizer_type"), remedy)


@rule("LL414", "betas-out-of-range", "error", reads=_KEYS, source=_TORCH)
def betas_out_of_range(view: View) -> Iterator[Hit]:
    """A beta is 1 or more, or below 0, or there are not two.

    What it does
    Looks at `betas` in `optimizer_args` for optimizers of Adam's kind and Lion.

    Why is this bad
    They are the shares of the past in running averages. With 1 nothing new would ever count; the optimizer refuses it.

    Bad
    ```json
    {"optimizer_args": ["betas=0.9,1.0"]}
    ```

    Good
    ```json
    {"optimizer_args": ["betas=0.9,0.99"]}
    ```
    """
    if family(view.config) not in {"adam", "lion"}:
        return
    betas = arguments(view.config.optimizer_args).get("betas")
    if betas is None:
        return
    two = list(betas) if isinstance(betas, list | tuple) else [betas]
    if len(two) != 2 or not all(isinstance(beta, int | float) and 0 <= beta < 1 for beta in two):
        message = f"betas are {', '.join(map(str, two))}: there must be two, from 0 to below 1"
        yield Hit(message, ("optimizer_args",), "0.9,0.999 is AdamW's default, 0.9,0.99 is usual too")


@rule("LL415", "adafactor-warmup-init", "error", reads=_KEYS, source=_ADAFACTOR)
def adafactor_warmup_init(view: View) -> Iterator[Hit]:
    """AdaFactor is to warm up by itself, with a learning rate that is given.

    What it does
    Looks for `warmup_init=True` with `relative_step=False`.

    Why is this bad
    The optimizer refuses it; sd-scripts turns `relative_step` on instead, and the learning rate is ignored.

    Bad
    ```json
    {"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False", "warmup_init=True"]}
    ```

    Good
    ```json
    {"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False", "warmup_init=False"]}
    ```
    """
    given = arguments(view.config.optimizer_args)
    if family(view.config) == "adafactor" and given.get("warmup_init") and given.get("relative_step") is False:
        message = "warmup_init=True needs relative_step=True, which takes no learning rate"
        yield Hit(message, ("optimizer_args",), "set warmup_init=False and use warmup_lr_ratio")


@rule(
    "LL416",
    "prodigy-warmup-without-safeguard",
    "warning",
    reads=(*_KEYS, "warmup_lr_ratio", "lr_warmup_steps", "scheduler", "cosine_restarts"),
    source=_PRODIGY,
)
def prodigy_warmup_without_safeguard(view: View) -> Iterator[Hit]:
    """Prodigy has a warm-up or restarts, and its guard against them is off.

    What it does
    Looks for a warm-up, or for cosine restarts, with Prodigy and without `safeguard_warmup=True`.

    Why is this bad
    While the schedule holds the rate down, progress is slow, and Prodigy takes that for a rate that is too small: it
    overestimates, and the LoRA burns when the schedule lets go.

    Bad
    ```json
    {"optimizer_type": "Prodigy", "learning_rate": 1.0, "warmup_lr_ratio": 0.1}
    ```

    Good
    ```json
    {"optimizer_type": "Prodigy", "optimizer_args": ["safeguard_warmup=True"], "learning_rate": 1, "lr_warmup_steps": 9}
    ```
    """
    config = view.config
    if config.optimizer_type.casefold() != "prodigy" or arguments(config.optimizer_args).get("safeguard_warmup"):
        return
    warm = (config.warmup_lr_ratio or config.lr_warmup_steps) and config.scheduler != "constant"
    restarts = config.scheduler == "cosine_with_restarts" and config.cosine_restarts > 1
    if warm or restarts:
        what = "a warm-up" if warm else "restarts"
        key = "cosine_restarts" if not warm else "warmup_lr_ratio" if config.warmup_lr_ratio else "lr_warmup_steps"
        message = f"Prodigy with {what} overestimates its learning rate unless safeguard_warmup is on"
        yield Hit(message, (key, "optimizer_type"), 'add "safeguard_warmup=True" to optimizer_args')


@rule("LL417", "adafactor-clips-twice", "info", reads=(*_KEYS, "max_grad_norm"), source=_ADAFACTOR)
def adafactor_clips_twice(view: View) -> Iterator[Hit]:
    """AdaFactor clips its updates, and the gradients are clipped as well.

    What it does
    Looks for `max_grad_norm` above 0 with AdaFactor and `relative_step=False`.

    Why is this bad
    AdaFactor's authors advise against gradient clipping beside its own `clip_threshold`.

    Bad
    ```json
    {"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False"], "max_grad_norm": 1.0}
    ```

    Good
    ```json
    {"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False"], "max_grad_norm": 0}
    ```
    """
    fixed = arguments(view.config.optimizer_args).get("relative_step") is False
    if family(view.config) == "adafactor" and fixed and view.config.max_grad_norm > 0:
        message = f"gradients are clipped at {view.config.max_grad_norm:g} before AdaFactor clips its updates"
        yield Hit(message, ("max_grad_norm", "optimizer_type"), "set max_grad_norm to 0")
