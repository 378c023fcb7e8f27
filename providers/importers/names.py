"""One table of names: what others call hardware, engines and precisions, and what we call them."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pricing.document_reader import shown
from pricing.profiles import ProfileError

HEX_REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names of one kind of thing.

    Attributes:
        kind: the field in our words; its option is ``--kind``.
        aliases: our name of each, to the other spellings of it, compared without case and punctuation.
        noise: words that change nothing, dropped from a spelling.
        spellings: every spelling, squashed, to our name.
    """

    kind: str
    aliases: Mapping[str, tuple[str, ...]]
    noise: frozenset[str] = frozenset()
    spellings: Mapping[str, str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        found = {_squashed(other): name for name, others in self.aliases.items() for other in (name, *others)}
        object.__setattr__(self, "spellings", MappingProxyType(found))

    @property
    def option(self) -> str:
        """The option that states it."""
        return f"--{self.kind.replace('_', '-')}"

    def find(self, written: str) -> str | None:
        """Our name for what is written; None when it is in no table."""
        words = [word for word in re.split(r"[^a-z0-9.]+", written.lower()) if word]
        whole = self.spellings.get("".join(words))
        return whole or self.spellings.get("".join(word for word in words if word not in self.noise))

    def unknown(self, written: object) -> str:
        """What to say of a name that is in no table."""
        spelled = str(written).lower()
        near = difflib.get_close_matches(spelled, self.aliases, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return (
            f"unknown {self.kind} {shown(written)}{hint} Known: {', '.join(sorted(self.aliases))}. "
            f"State which it is with {self.option}"
        )


def _squashed(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "", name.lower())


HARDWARE = Vocabulary(
    "hardware",
    MappingProxyType(
        {
            "h100": (),
            "h200": (),
            "h20": (),
            "b200": (),
            "b300": (),
            "gb200": (),
            "gb300": (),
            "gh200": (),
            "a100": (),
            "a10g": (),
            "a10": (),
            "l4": (),
            "l40s": (),
            "rtx4090": ("geforce rtx 4090",),
            "rtx5090": ("geforce rtx 5090",),
            "rtx6000": ("rtx 6000 ada", "rtx 6000 ada generation"),
            "rtxpro6000": ("rtx pro 6000 blackwell server edition",),
            "mi300x": (),
            "mi325x": (),
            "mi350x": (),
            "mi355x": ("mi355",),
            "gaudi3": (),
            "trn2": ("trainium2",),
            "trn3": ("trainium3",),
            "tpuv5e": ("v5e", "tpu v5 lite"),
            "tpuv6e": ("v6e", "trillium"),
            "tpuv7": ("ironwood",),
            "cs3": ("wse3",),
            "local": ("cpu",),
        }
    ),
    frozenset(
        {
            *("nvidia", "amd", "intel", "instinct", "aws", "google", "sxm", "sxm4", "sxm5", "sxm6", "oam", "nvl72"),
            *("hbm3", "hbm3e", "40gb", "80gb", "96gb", "141gb", "180gb", "192gb", "256gb", "288gb", "trt", "disagg"),
        }
    ),
)

ENGINE = Vocabulary(
    "engine",
    MappingProxyType(
        {
            "vllm": ("vllm-openai",),
            "sglang": (),
            "trtllm": ("trt-llm", "trt", "tensorrt-llm", "tensorrt", "tensorrtllm"),
            "atom": (),
            "llama.cpp": ("llamacpp", "llama-server", "llama_cpp"),
            "tgi": ("text-generation-inference",),
            "lmdeploy": (),
            "mlc-llm": (),
        }
    ),
    frozenset({"dynamo", "mori", "disagg"}),
)

PRECISION = Vocabulary(
    "precision",
    MappingProxyType(
        {
            "fp4": (
                *("nvfp4", "mxfp4", "nvfp4_wo", "w4a16_nvfp4", "w4a16_mxfp4", "w4a16_mxfp4_cutlass"),
                *("w4a8_mxfp4_mxfp8", "w4a8_mxfp4_mxfp8_trtllm"),
            ),
            "fp8": ("fp8_block", "fp8_static", "fp8_ootb", "fp8_e4m3", "float8", "w8a8_fp8", "mxfp8"),
            "int4": ("int4_wo", "w4a16", "w4afp8", "awq", "gptq"),
            "int8": ("int8_wo", "sq", "w8a8_int8"),
            "bf16": ("bfloat16",),
            "fp16": ("float16", "half", "f16"),
            "q4_0": (),
            "q4_1": (),
            "q4_k_m": (),
            "q5_k_m": (),
            "q6_k": (),
            "q8_0": (),
        }
    ),
)

SPEC_DECODING = Vocabulary(
    "spec_decoding",
    MappingProxyType(
        {
            "none": ("off", "false", "no"),
            "mtp": ("nextn", "deepseek_mtp"),
            "eagle": (),
            "eagle3": (),
            "medusa": (),
            "ngram": (),
            "draft_model": ("draft",),
            "unknown": (),
        }
    ),
)

BITS = MappingProxyType({"fp4": 4, "int4": 4, "fp8": 8, "int8": 8, "bf16": 16, "fp16": 16})


def narrower(first: str, second: str) -> str:
    """Of two precisions of one model, the one with fewer bits: the one its weights are mostly in.

    >>> narrower("bf16", "fp4")
    'fp4'
    """
    return min(first, second, key=lambda name: BITS.get(name, 16))


def model_name(written: str) -> str:
    """A model's name without its publisher or its folder, as shipped profiles name models.

    >>> model_name("openai/gpt-oss-120b"), model_name("/cache/models--Qwen--Qwen3-32B/snapshots/x/")
    ('gpt-oss-120b', 'Qwen3-32B')

    Raises:
        ProfileError: only a revision is left of it.
    """
    parts = [part for part in written.strip().split("/") if part]
    cached = [part for part in parts if part.startswith("models--")]
    name = cached[-1].rsplit("--", 1)[-1] if cached else (parts[-1] if parts else "")
    if not name or HEX_REVISION.fullmatch(name):
        raise ProfileError(f"model: {shown(written)} does not name a model; state it with --model")
    return name
