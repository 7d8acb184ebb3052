"""The bill: what a model of given sizes needs, by formula. The notebooks hold each formula to a measurement."""

from bigmodel_lib.config import ModelConfig


def parameter_formula(config: ModelConfig) -> int:
    """V D for the embedding, once more for the output unless tied, L (4 D² + 2 D F) for the blocks, and the small rest.

    The rest: T D for learned positions, 2 L D for token shifts. Taught in 03_mlp_attention_numpy.
    """
    V, D, F, L = config.vocab_size, config.d_model, config.d_ff, config.n_layers
    ends = V * D * (1 if config.tied else 2)
    rest = config.context_length * D * (config.positions == "learned") + 2 * L * D * config.token_shift
    return ends + L * (4 * D * D + 2 * D * F) + rest


def flops_formula(config: ModelConfig, n_tokens: int) -> dict:
    """Multiplications and additions of the forward pass over one sequence, by part; only matrix products are counted.

    A product (n, m) @ (m, p) costs 2 n m p. Projections 2 T L 4D², attention 2 T² L 2D (all pairs, the masked half
    too), MLPs 2 T L 2 D F, output 2 T D V. The backward pass costs twice as much. Source: Kaplan et al. 2020, table 1.
    Taught in 03_mlp_attention_numpy.
    """
    V, D, F, L, T = config.vocab_size, config.d_model, config.d_ff, config.n_layers, n_tokens
    return {
        "projections": 2 * T * L * 4 * D * D,
        "attention": 2 * T * T * L * 2 * D,
        "MLPs": 2 * T * L * 2 * D * F,
        "output": 2 * T * D * V,
    }
