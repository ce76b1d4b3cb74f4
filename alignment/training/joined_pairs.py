"""Pairs whose prompt is computed once: prompt, chosen and rejected answer stand in one row, and the answers do not see
each other.

TRL's batches hold each pair as two rows with the same prompt. Under causal attention the prompt's states do not depend
on what follows, so one copy serves both: prompt + chosen + rejected tokens instead of 2 × prompt + chosen + rejected.
"""

from __future__ import annotations

from typing import Any, NamedTuple

HEAD_TOKENS = 1024  # whose logits over the vocabulary exist at once


class Joined(NamedTuple):
    """Pairs as single rows of W tokens.

    Args:
        ids: (B, W) prompt, chosen, rejected, padding.
        positions: (B, W) as each token has them in its own row of TRL's batch.
        visible: (B, 1, W, W) whether the token of the third axis sees the one of the fourth.
        rows, columns: (n,) each, where in (B, W) the state lies that predicts an answer's token; chosen ones first.
        labels: (n,) the token that it predicts.
    """

    ids: Any
    positions: Any
    visible: Any
    rows: Any
    columns: Any
    labels: Any


def join(ids: Any, completion_mask: Any) -> Joined:
    """Joins the two rows of each pair.

    Args:
        ids: (2B, T) token ids padded on the right, the chosen rows first; the rows of a pair begin with one prompt.
        completion_mask: (2B, T) 1 where an answer's token stands.
    """
    import torch

    pairs, device = len(ids) // 2, ids.device
    prompt = completion_mask.argmax(1)[:pairs, None]  # (B, 1) tokens
    chosen, rejected = completion_mask.sum(1).view(2, pairs, 1)
    width = int((prompt + chosen + rejected).max())
    at = torch.arange(width, device=device).expand(pairs, width)
    in_chosen = (at >= prompt) & (at < prompt + chosen)
    in_rejected = (at >= prompt + chosen) & (at < prompt + chosen + rejected)
    positions = torch.where(in_rejected, at - chosen, at)
    column = positions.clamp(max=ids.shape[1] - 1)
    joined = torch.where(in_rejected, ids[pairs:].gather(1, column), ids[:pairs].gather(1, column))
    causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    visible = causal & ~(in_rejected[:, :, None] & in_chosen[:, None, :])

    row, after = completion_mask[:, 1:].nonzero(as_tuple=True)  # of TRL's batch: the token before each answer's token
    labels = ids[row, after + 1]
    of_rejected, pair = row >= pairs, row % pairs
    begins = after + 1 == prompt[pair, 0]  # an answer's first token is predicted by the prompt's last
    columns = torch.where(of_rejected & ~begins, after + chosen[pair, 0], after)
    return Joined(joined, positions, visible[:, None], pair, columns, labels)


def answer_logps(model: Any, ids: Any, completion_mask: Any) -> Any:
    """Computes the log-probability of each token of each answer.

    Args:
        model: a causal language model without adapters around it, with its head apart.
        ids, completion_mask: (2B, T), see `join`.

    Returns:
        (2B, T - 1): of the token after each position, 0 where it is not an answer's.
    """
    import torch

    joined = join(ids, completion_mask)
    states = model.base_model(
        input_ids=joined.ids, attention_mask=joined.visible, position_ids=joined.positions, use_cache=False
    ).last_hidden_state[joined.rows, joined.columns]  # (n, hidden)
    logps = _label_logps(states, joined.labels, model.get_output_embeddings())
    mask = completion_mask[:, 1:].bool()
    return torch.zeros(mask.shape, dtype=logps.dtype, device=logps.device).masked_scatter(mask, logps)


def _label_logps(states: Any, labels: Any, head: Any) -> Any:
    """Computes labels' log-probabilities (n,) in fp32, some rows' logits at a time, made again for the backward pass."""
    import torch
    from torch.utils.checkpoint import checkpoint

    def some(states: Any, labels: Any) -> Any:
        logits = head(states).float()  # (rows, vocabulary)
        return logits.gather(1, labels[:, None])[:, 0] - logits.logsumexp(1)

    slices = zip(states.split(HEAD_TOKENS), labels.split(HEAD_TOKENS), strict=True)
    return torch.cat([checkpoint(some, *each, use_reentrant=False) for each in slices])
