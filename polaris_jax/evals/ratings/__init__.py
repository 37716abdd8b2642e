"""Ratings from pairwise comparisons: Bradley-Terry on the Elo scale, and Glicko-2. Numpy only.

``Game`` is one comparison with a score in [0, 1]. ``bradley_terry`` is the maximum-likelihood fit. ``elo_table`` puts
it on the Elo scale with given anchors and bootstrap intervals. ``glicko2`` rates the same games in rating periods.
"""

from polaris_jax.evals.ratings.bradley_terry import bradley_terry
from polaris_jax.evals.ratings.elo import EloRow, elo_table
from polaris_jax.evals.ratings.games import Game
from polaris_jax.evals.ratings.glicko import GlickoPlayer, glicko2, rate

__all__ = ["EloRow", "Game", "GlickoPlayer", "bradley_terry", "elo_table", "glicko2", "rate"]
