"""How networks learn: stages, rollout, losses, trainer."""
