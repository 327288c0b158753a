"""What stands in front of every text of a benchmark: a token of the tokenizer, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from lsns.errors import LsnsError

Prefix = Literal["auto", "bos", "eos", "none"]


@dataclass(frozen=True)
class Front:
    """What stands in front of every scored text.

    Attributes:
        asked: the option, e.g. `auto`.
        token: the token that it came to; None: nothing.
        token_id: the id of that token; None: nothing.
    """

    asked: str
    token: str | None
    token_id: int | None

    def before(self, ids: list[int]) -> list[int]:
        """The prefix, unless `ids` begin with it already."""
        return [] if self.token_id is None or ids[:1] == [self.token_id] else [self.token_id]


def resolve_prefix(tokenizer: Any, prefix: Prefix | str = "auto") -> Front:
    """What `prefix` means for a tokenizer.

    - `auto`: the `bos` token if there is one, else the `eos` token. This is what lm-eval puts in
      front of a text without context (`HFLM.prefix_token_id` of lm-eval 0.4.13).
    - `bos`, `eos`: the token that the tokenizer calls so.
    - `none`: nothing. The first token then has no context and is not scored.
    - a token of the vocabulary, written out, e.g. `<|endoftext|>`: the token that separated
      documents in training is neither `bos` nor `eos` of many chat models. SmolLM2-Instruct has
      `<|im_start|>` for `bos`, `<|im_end|>` for `eos`, and only a token like any other, of id 0,
      in `<|endoftext|>`.

    Raises:
        LsnsError: the tokenizer has no such token.
    """
    if prefix == "none":
        return Front(prefix, None, None)
    special = {"bos": tokenizer.bos_token, "eos": tokenizer.eos_token}
    special["auto"] = special["bos"] or special["eos"]
    token = special.get(prefix, prefix)
    if not token or token not in tokenizer.get_vocab():
        found = ", ".join(f"{k} {special[k]}" for k in ("bos", "eos") if special[k]) or "neither"
        raise LsnsError(
            f"the tokenizer has no token for prefix {prefix!r} (bos and eos: {found}); "
            "use auto, bos, eos, none, or a token of its vocabulary"
        )
    return Front(prefix, token, int(tokenizer.convert_tokens_to_ids(token)))
