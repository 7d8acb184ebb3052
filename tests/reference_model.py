"""The decoder once more, as an oracle: every variant of ModelConfig in PyTorch's own functions, with nothing of ours.

w holds tensors under the names that the model by hand and the one in PyTorch share.
"""

import torch
from torch.nn import functional


def norm(x, config, gain=None):
    shape = x.shape[-1:]
    if config.norm == "rms":
        return functional.rms_norm(x, shape, gain, eps=1e-5)
    return functional.layer_norm(x, shape, gain, eps=1e-5)


def shifted(x, w, name):
    """With `name` among the weights each token also gets a multiple of the one before it."""
    if name not in w:
        return x
    before = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], dim=1)
    return x + before * w[name]


def turned(x, base):
    """RoPE as a product of complex numbers."""
    T, K = x.shape[-2:]
    angles = torch.arange(T)[:, None] * base ** (-torch.arange(K // 2) * 2 / K)
    pairs = torch.complex(x[..., : K // 2], x[..., K // 2 :]) * torch.polar(torch.ones_like(angles), angles)
    return torch.cat([pairs.real, pairs.imag], dim=-1)


def attention(x, w, i, config):
    name, H, K = f"blocks.{i}.attention", config.n_heads, config.d_head
    x = shifted(x, w, f"{name}.shift")
    q, k, v = ((x @ w[f"{name}.w_{letter}"]).unflatten(-1, (-1, K)).transpose(1, 2) for letter in "qkv")
    if config.qk_norm:
        q, k = norm(q, config), norm(k, config)
    if config.positions == "rope":
        q, k = turned(q, config.rope_base), turned(k, config.rope_base)
    served_by = [head // (H // k.shape[1]) for head in range(H)]
    y = functional.scaled_dot_product_attention(q, k[:, served_by], v[:, served_by], is_causal=config.causal)
    return torch.cat(list(y.unbind(dim=1)), dim=-1) @ w[f"{name}.w_o"]


def mlp(x, w, i, config):
    name = f"blocks.{i}.mlp"
    x = shifted(x, w, f"{name}.shift")
    up = x @ w[f"{name}.w_up"]
    if config.activation == "swiglu":
        h = functional.silu(x @ w[f"{name}.w_gate"]) * up
    else:
        h = functional.gelu(up) if config.activation == "gelu" else torch.relu(up) ** 2
    return h @ w[f"{name}.w_down"]


def logits_of(tokens, w, config):
    """tokens (B, T) -> logits (B, T, V)."""
    x = functional.embedding(tokens, w["token_embedding"])
    if config.positions == "learned":
        x = x + w["position_embedding"][: tokens.shape[1]]
    for i in range(config.n_layers):
        x = x + attention(norm(x, config, w.get(f"blocks.{i}.attention.norm_gain")), w, i, config)
        x = x + mlp(norm(x, config, w.get(f"blocks.{i}.mlp.norm_gain")), w, i, config)
    return functional.linear(norm(x, config, w.get("norm_gain")), w["token_embedding"] if config.tied else w["w_out"].T)


def loss_of(tokens, targets, w, config):
    """In nats per target that is not -1."""
    return functional.cross_entropy(logits_of(tokens, w, config).flatten(0, 1), targets.flatten(), ignore_index=-1)
