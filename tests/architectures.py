"""Tiny random models of every causal-LM type of transformers, and what must hold for each.

The checks read the model with plain forward passes and plain hooks, and compare what the package
does to that; of the package they use only what is under test.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# The number of blocks is unlike the other numbers that lists of modules are made from.
BLOCKS = 3
DEPTHS = """
    num_hidden_layers n_layer n_layers num_layers decoder_layers num_blocks num_decoder_layers
    max_window_layers
"""
# Sizes by the names that configurations give them; a configuration gets those that it has.
SIZES: tuple[tuple[str, Any], ...] = (
    (DEPTHS, BLOCKS),
    # More than the decoder's: in transformers a decoder's cache is as deep as the encoder.
    ("encoder_layers num_encoder_layers", BLOCKS + 1),
    (
        """hidden_size d_model n_embd emb_dim embedding_dim embedding_size word_embed_proj_dim
        input_embedding_size output_embedding_size lru_width""",
        32,
    ),
    (
        """intermediate_size decoder_ffn_dim encoder_ffn_dim moe_intermediate_size ffn_hidden_size
        expert_ffn_hidden_size shared_expert_intermediate_size ffn_dim dff dim_ff d_inner
        dense_intermediate_size feed_forward_size shared_intermediate_size intermediate_size_mlp
        shared_experts_intermediate_size moe_shared_expert_intermediate_size""",
        48,
    ),
    (
        """num_attention_heads n_head n_heads num_heads decoder_attention_heads attention_heads
        encoder_attention_heads num_decoder_attention_heads num_encoder_attention_heads
        linear_num_heads swa_num_attention_heads index_n_heads""",
        4,
    ),
    (
        """num_key_value_heads num_kv_heads linear_num_key_heads linear_num_value_heads
        swa_num_key_value_heads num_query_groups num_global_key_value_heads""",
        2,
    ),
    (
        """head_dim v_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim d_head
        swa_head_dim dim_head kv_channels attention_head_size global_head_dim qk_head_dim
        index_head_dim""",
        8,
    ),
    ("qk_rope_head_dim qk_nope_head_dim rotary_dim", 4),
    ("q_lora_rank kv_lora_rank o_lora_rank", 16),
    ("num_experts n_routed_experts num_local_experts moe_num_experts", 4),
    ("num_experts_per_tok num_experts_per_token moe_topk moe_k", 2),
    ("n_group num_expert_group topk_group first_k_dense_replace num_dense_layers", 1),
    ("vocab_size decoder_vocab_size vocab_size_per_layer_input", 300),
    ("hidden_size_per_layer_input", 8),
    ("type_vocab_size", 2),
    (
        """max_position_embeddings n_positions n_ctx max_seq_len model_max_length context_length
        max_target_positions original_max_position_embeddings""",
        128,
    ),
    # Shorter than the texts, so that a window that slides is seen to slide; the same for chunks.
    ("sliding_window sliding_window_size attention_window_size local_attention", 8),
    ("chunk_size mamba_chunk_size", 4),
    ("mamba_n_heads n_mamba_heads mamba_num_heads mamba_dt_rank", 4),
    ("mamba_d_head mamba_headdim mamba_head_dim attention_head_dim", 16),
    ("state_size mamba_d_state ssm_state_size", 8),
    # Wide enough that what a block adds to the residual stream is not lost in it.
    ("initializer_range init_std", 0.2),
    ("bos_token_id eos_token_id pad_token_id", 0),
    ("forced_eos_token_id rope_scaling per_layer_config", None),
    ("is_decoder", True),
    # A tied output would repeat the last token for ever. The kernels are for other devices.
    ("tie_word_embeddings use_mamba_kernels", False),
)
SIZE_OF = {name: size for names, size in SIZES for name in names.split()}
LATENT_ATTENTION = {"num_key_value_heads": 4, "head_dim": 4}
# Towers for images and sound: not as deep as the text model, nor are they so in checkpoints.
TOWERS = {"vision_config", "audio_config"}
LARGEST = 3_000_000
# What a type needs besides.
DOTS_3 = {"per_layer_config": {}, "head_dim": 8}
QWEN_4 = {
    "indexer_n_heads": 2,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}
ADJUSTMENTS: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "encoder_config": {"hidden_size_global": 32},
        "decoder_config": {"hidden_size_global": 32},
    },
    "cohere_compass_text": {
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48},
    },
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "dots3_note": {
        "text_config": DOTS_3,
        "vision_config": {"adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": DOTS_3,
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {
        "num_hidden_layers": 5,
        "num_kv_shared_layers": 2,
        "activation_sparsity_pattern": [0.5, 0.5, 0.0, 0.0, 0.0],
        "layer_types": [
            f"{kind}_attention" for kind in ("sliding", "full", "sliding", "full", "sliding")
        ],
    },
    "gpt_neo": {"attention_types": [[["global", "local", "global"], 1]], "window_size": 8},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention", "linear_attention"]},
    "jamba": {"attn_layer_period": 3, "attn_layer_offset": 1},
    "lfm2_moe": {"layer_types": ["conv", "full_attention", "conv"]},
    "longcat_flash": {"zero_expert_num": 2},
    "mamba2": {"num_heads": 4, "head_dim": 16, "n_groups": 2},
    # Longer than the texts: in transformers this window slides with the cache only.
    "moshi": {"sliding_window": 128},
    "nemotron_h": {"n_groups": 2},
    "phi4_multimodal": {
        "audio_config": {
            "nemo_conv_channels": 8,
            "ext_pw_out_channel": 32,
            "depthwise_separable_out_channel": 32,
        }
    },
    "qwen4_exp": {"text_config": QWEN_4},
    "qwen4_exp_text": QWEN_4,
    "reformer": {"attn_layers": ["local"] * BLOCKS, "axial_pos_embds": False},
    "roc_bert": {
        "shape_vocab_size": 300,
        "shape_embed_dim": 8,
        "pronunciation_vocab_size": 300,
        "pronunciation_embed_dim": 8,
    },
    "xlm": {"causal": True},
    "xlstm": {"hidden_size": 64, "embedding_dim": 64, "qk_dim_factor": 1.0},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid", "hybrid"]},
    "zaya": {"num_experts_per_tok": 1},
}


# Not language models that continue a text by themselves.
NOT_APPLICABLE = {
    "gemma3n": "its image tower needs packages that are not required here (Pillow, timm)",
    "gemma4_assistant": "drafts from the hidden states of another model, not from tokens",
    "gemma4_unified_assistant": "drafts from the hidden states of another model, not from tokens",
    "musicgen": "audio; transformers makes no causal language model of its configuration",
    "musicgen_melody": "audio; transformers makes no causal language model of its configuration",
}
# What a refusal does not say.
REFUSED_FOR = {
    "blt": (
        "bytes are gathered into patches between its blocks; with `--blocks "
        "model.local_decoder.layers` it can be read, but transformers itself fails to run it with "
        "its default cache",
    ),
    "cpmant": ("a prompt of its own stands in front of the tokens",),
    "deepseek_v4": ("parallel streams",),
    "gemma3n_text": ("parallel streams",),
    "hy_v4": ("parallel streams",),
    "prophetnet": ("several predicting streams per token",),
    "reformer": ("two reversible streams",),
    "xlnet": ("tokens come before texts in its tensors",),
}
# Where the blocks are not found, and naming them makes it work.
NAMED_BLOCKS = {
    "hrm_text": "model.H_module.layers",
    "longcat_flash": "model.layers",
    "xlm": "transformer.layer_norm2",
}
PROMPT = "the cat sat on the mat and looked at the moon"
TEXTS = [
    PROMPT,
    "a storm",
    "zem vepe fistes zi e mup jum jorrombe plart ir jop zept",
    "a storm came over the hills before the harvest",
    "uc bramets",
]
NEW_TOKENS = 6


def model_types() -> list[str]:
    """Every causal-LM type of the transformers that is installed."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(model_type: str) -> Any:
    """The type's configuration, shrunk."""
    from transformers import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[model_type]
    return config_class(**_shrunk(config_class, ADJUSTMENTS.get(model_type, {})))


def tiny_module(model_type: str, seed: int = 0) -> Any:
    """A random model of that type, in float32."""
    import torch
    from transformers import AutoModelForCausalLM

    config = tiny_config(model_type)
    with torch.device("meta"):
        size = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
    if size > LARGEST:
        raise ValueError(f"not tiny: {size} parameters")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def _shrunk(config_class: Any, adjustments: dict[str, Any]) -> dict[str, Any]:
    default = config_class()
    fields = {name: vars(default)[name] for name in default.to_dict() if name in vars(default)}
    sizes = SIZE_OF | (LATENT_ATTENTION if "kv_lora_rank" in fields else {})
    settings: dict[str, Any] = {name: sizes[name] for name in fields if name in sizes}
    depth = getattr(default, "num_hidden_layers", None)
    per_block = {n for n, v in fields.items() if isinstance(v, list) and len(v) == depth}
    settings |= {name: _cycled(fields[name]) for name in per_block - settings.keys()}
    parts = {n for n in config_class.sub_configs or {} if fields.get(n) is not None}
    for name in parts:
        settings[name] = _shrunk_part(name, fields[name], adjustments.get(name, {}))
    return settings | {n: value for n, value in adjustments.items() if n not in parts}


def _shrunk_part(name: str, part: Any, adjustments: dict[str, Any]) -> dict[str, Any]:
    settings = _shrunk(type(part), adjustments) | {"model_type": part.model_type}
    if name in TOWERS:
        settings |= {depth: BLOCKS - 1 for depth in settings.keys() & set(DEPTHS.split())}
    return settings


def _cycled(kinds: list[Any]) -> list[Any]:
    """As many blocks as are wanted, of as many kinds as there are."""
    distinct = list(dict.fromkeys(kinds))
    return [distinct[index % len(distinct)] for index in range(BLOCKS)]


@dataclass(frozen=True)
class Blocks:
    """A model's blocks as plain PyTorch sees them, with no code of the package."""

    module: Any
    blocks: list[Any]

    def read(self, tokens: list[int]) -> tuple[list[Any], Any]:
        """One text: what each block returned (tokens, units), last run, and the logits."""
        import torch

        ids = torch.tensor([tokens])
        with self.recorded() as calls, torch.no_grad():
            logits = self.module(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        return [outputs[-1][0] for outputs in calls], logits

    @contextmanager
    def recorded(self) -> Iterator[list[list[Any]]]:
        """What each block returned in each of its runs, as later modules are given it."""
        calls: list[list[Any]] = [[] for _ in self.blocks]
        handles = [
            block.register_forward_hook(
                lambda _m, _i, out, seen=seen: seen.append(_stream(out).clone())
            )
            for block, seen in zip(self.blocks, calls, strict=True)
        ]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def multiplied(self, keep: Any) -> Iterator[None]:
        """A lesion written here: the blocks' outputs times `keep` (n_layers, units)."""

        def times(factor: Any) -> Any:
            def hook(_module: Any, _inputs: Any, out: Any) -> Any:
                product = _stream(out) * factor
                return type(out)([product, *out[1:]]) if isinstance(out, (tuple, list)) else product

            return hook

        handles = [
            block.register_forward_hook(times(factor))
            for block, factor in zip(self.blocks, keep, strict=True)
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def continued(self, tokens: list[int], *, use_cache: bool) -> list[int]:
        """Greedy continuation by transformers' own `generate`."""
        import torch

        ids = torch.tensor([tokens])
        with torch.no_grad():
            produced = self.module.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                min_new_tokens=NEW_TOKENS,
                do_sample=False,
                num_beams=1,
                use_cache=use_cache,
                pad_token_id=0,
            )
        return produced[0, len(tokens) :].tolist()


@dataclass(frozen=True)
class Outcome:
    """What is reported of a type.

    Attributes:
        status: `passed`, `refused` (one clear line, no wrong result), `failed`, `not applicable`.
        blocks: dotted path of the blocks.
        remarks: what a reader should know; why it did not pass.
    """

    status: str
    blocks: str = ""
    remarks: tuple[str, ...] = ()


def survey(model_type: str, folder: Path) -> Outcome:
    """Check a type; where it is refused and naming the blocks helps, check it so as well."""
    from lsns.errors import LsnsError

    if model_type in NOT_APPLICABLE:
        return Outcome("not applicable", remarks=(NOT_APPLICABLE[model_type],))
    try:
        try:
            return check(model_type, folder)
        except LsnsError as error:
            refused = Outcome("refused", remarks=(str(error),))
        if model_type not in NAMED_BLOCKS:
            return Outcome("refused", remarks=(*refused.remarks, *REFUSED_FOR.get(model_type, ())))
        path = NAMED_BLOCKS[model_type]
        named = check(model_type, folder, blocks=path)
        remark = f"passed with `--blocks {path}`; without: {refused.remarks[0]}"
        return Outcome("refused", path, (remark, *named.remarks))
    except Exception as error:
        first = (str(error) or "no message").splitlines()[0]
        return Outcome("failed", remarks=(f"{type(error).__name__}: {first}",))


def check(model_type: str, folder: Path, *, blocks: str | None = None) -> Outcome:
    """Everything that must hold for a type; an `AssertionError` says what does not."""
    import numpy as np

    import lsns
    from lsns.models.huggingface import HuggingFaceModel
    from tests.tiny import make_tokenizer

    module, tokenizer = tiny_module(model_type), make_tokenizer()
    state = _state(module)
    model = HuggingFaceModel.wrap(module, tokenizer, name=model_type, blocks=blocks)
    path = model.layer_names[0].rpartition(".")[0]
    plain = Blocks(module, list(module.get_submodule(path)))
    tokens = [tokenizer(text)["input_ids"] for text in TEXTS]
    before = [plain.read(ids) for ids in tokens]

    _check_blocks(plain, tokens[0], before[0][0])
    # Asked for hidden states, transformers leaves hooks of its own.
    hooks = _hooks(module)
    _check_extraction(model, before)
    _check_localization(model, folder)
    units = np.random.default_rng(0).random(model.shape) < 0.1
    units[:, 3] = True
    mask = lsns.UnitMask(units)
    _check_lesion(model, plain, mask, tokens[0], before[0])
    cached = _check_generation(model, plain, mask, tokens[0])
    _check_exception(model, mask)

    assert _hooks(module) == hooks, "a hook is left"
    assert model.active_lesions == [], "a lesion is left"
    after = [plain.read(ids)[1] for ids in tokens]
    assert all(a.equal(b[1]) for a, b in zip(after, before, strict=True)), "intact logits changed"
    assert _state(module) == state, "weights or buffers changed"
    remarks = _remarks(module, _runs(plain, tokens[0]), model.hidden_size, cached=cached)
    return Outcome("passed", path, remarks)


def _remarks(module: Any, runs: int, n_units: int, *, cached: bool) -> tuple[str, ...]:
    config = module.config
    text, default = config.get_text_config(decoder=True), type(config)()
    width = getattr(text, "hidden_size", n_units)
    decoder = getattr(default, "is_decoder", True)
    found = {
        (
            "the decoder alone of an encoder-decoder model; the cache of transformers fails where "
            "the decoder is deeper than the encoder"
        ): default.is_encoder_decoder,
        "as a decoder (`is_decoder=True`)": not (decoder or default.is_encoder_decoder),
        "causal (`causal=True`)": not getattr(default, "causal", True),
        f"units: {n_units // width} streams of {width}, side by side": n_units != width,
        f"each block runs {runs} times; the last run is read, and every run lesioned": runs > 1,
        "transformers keeps no cache for it": not cached,
    }
    return tuple(remark for remark, holds in found.items() if holds)


def _check_blocks(plain: Blocks, tokens: list[int], outputs: list[Any]) -> None:
    """The blocks' outputs are the hidden states that transformers itself reports, in that order.

    All but the last, which is reported after the final norm.
    """
    import torch

    ids = torch.tensor([tokens])
    with torch.no_grad():
        result = plain.module(
            input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True
        )
    reported = list(result.hidden_states)
    for layer, output in enumerate(outputs[:-1]):
        same = [r.shape[1:] == output.shape and torch.equal(r[0], output) for r in reported]
        assert any(same), f"block {layer} is not among the hidden states of transformers"
        reported = reported[same.index(True) + 1 :]


def _check_extraction(model: Any, before: list[tuple[list[Any], Any]]) -> None:
    import numpy as np
    import torch

    import lsns

    for pooling, pool in (
        ("last-token", lambda stream: stream[-1]),
        ("mean", lambda stream: stream.double().mean(dim=0).float()),
    ):
        expected = np.stack(
            [torch.stack([pool(s) for s in streams]).numpy() for streams, _ in before]
        )
        for batch_size in (1, None):
            rows = lsns.extract(model, TEXTS, pooling=pooling, batch_size=batch_size)
            difference = _relative(rows, expected)
            assert difference < 1e-4, f"{pooling}, batch {batch_size}: {difference:.1e} off"


def _check_localization(model: Any, folder: Path) -> None:
    import lsns

    contrast = lsns.Contrast("small", tuple(TEXTS[:2] + TEXTS[3:4]), (TEXTS[2], TEXTS[4]))
    found = lsns.localize(model, contrast, num_units=7, cache_dir=folder)
    assert found.mask.count == 7, f"{found.mask.count} units instead of 7"
    assert found.mask.units.shape == model.shape


def _check_lesion(model: Any, plain: Blocks, mask: Any, tokens: list[int], before: Any) -> None:
    import torch

    import lsns

    selected = torch.from_numpy(mask.units)
    with lsns.lesion(model, mask) as attached:
        streams, logits = plain.read(tokens)
    assert min(attached.fired.values()) >= 1
    for layer, stream in enumerate(streams):
        assert len(stream) == len(tokens)
        assert (stream[:, selected[layer]] == 0).all(), f"selected units of block {layer} not 0"
    # A block that runs several times gets what it returned itself as its next input.
    if _runs(plain, tokens) == 1:
        others = ~selected[0]
        same = streams[0][:, others].equal(before[0][0][:, others])
        assert same, "other units of the first block changed"
    assert not logits.equal(before[1]), "the lesion has no effect on the logits"
    with plain.multiplied((~selected).float()):
        expected = plain.read(tokens)[1]
    assert torch.allclose(logits, expected, rtol=1e-5, atol=1e-6), "not the lesion written here"


def _check_generation(model: Any, plain: Blocks, mask: Any, tokens: list[int]) -> bool:
    import torch

    import lsns

    selected = torch.from_numpy(mask.units)
    produced, seen = {}, {}
    for use_cache in (True, False):
        with lsns.lesion(model, mask), plain.recorded() as calls:
            produced[use_cache] = plain.continued(tokens, use_cache=use_cache)
        for layer, runs in enumerate(calls):
            assert all((run[..., selected[layer]] == 0).all() for run in runs), (
                "not 0 in generation"
            )
        seen[use_cache] = calls
    cached = _check_cache(seen)
    assert produced[True] == produced[False], f"cache: {produced[True]}, without: {produced[False]}"
    with lsns.lesion(model, mask):
        texts = [
            model.generate(PROMPT, max_new_tokens=NEW_TOKENS, use_cache=c) for c in (True, False)
        ]
    assert texts[0] == texts[1], f"cache: {texts[0]!r}, without: {texts[1]!r}"
    with plain.multiplied((~selected).float()):
        assert produced[False] == plain.continued(tokens, use_cache=False), (
            "not the lesion written here"
        )
    return cached


def _check_cache(seen: dict[bool, list[list[Any]]]) -> bool:
    """What the blocks returned piece by piece is what they return for all tokens at once.

    False: the model keeps no cache, and reads every token again each time.
    """
    import torch

    if seen[True][0][-1].shape == seen[False][0][-1].shape:
        return False
    runs = len(seen[False][0]) // NEW_TOKENS
    for pieces, whole in zip(seen[True], seen[False], strict=True):
        joined = torch.cat([piece[0] for piece in pieces[runs - 1 :: runs]])
        difference = _relative(joined.numpy(), whole[-1][0].numpy())
        assert difference < 1e-3, f"with the cache, outputs are {difference:.1e} off"
    return True


def _check_exception(model: Any, mask: Any) -> None:
    import lsns

    class StopError(Exception):
        pass

    try:
        with lsns.lesion(model, mask):
            lsns.extract(model, TEXTS[:1])
            raise StopError
    except StopError:
        pass


def _stream(output: Any) -> Any:
    return output[0] if isinstance(output, (tuple, list)) else output


def _runs(plain: Blocks, tokens: list[int]) -> int:
    import torch

    ids = torch.tensor([tokens])
    with plain.recorded() as calls, torch.no_grad():
        plain.module(input_ids=ids, attention_mask=torch.ones_like(ids))
    return max(map(len, calls))


def _hooks(module: Any) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def _state(module: Any) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode() + tensor.detach().numpy().tobytes())
    return digest.hexdigest()


def _relative(found: Any, expected: Any) -> float:
    """The largest difference, relative to the largest value of that block and text."""
    import numpy as np

    assert found.shape == expected.shape, f"{found.shape} instead of {expected.shape}"
    scale = np.abs(expected).max(axis=-1, keepdims=True)
    return float((np.abs(found - expected) / scale).max())
