"""How a call can fail, by kind.

| kind | what happened | asked again |
|---|---|---|
| ``rate_limit`` | HTTP 429 | yes, not before ``Retry-After`` |
| ``server`` | HTTP 408, 409, 5xx, or an error in the body of a 200 | yes |
| ``timeout`` | no byte within the time limit | yes |
| ``connection`` | refused, cut, or not HTTP | yes |
| ``invalid_json`` | body or answer is not JSON, or breaks the schema | yes |
| ``ambiguous`` | an answer with several different values | once |
| ``truncated`` | an answer was cut at ``max_tokens`` | twice, at twice the limit each time |
| ``empty`` | no text in the answer, or thinking only | yes, at twice the limit |
| ``refused`` | the model or a filter declined | no |
| ``quota`` | the account has no credit left | no |
| ``auth`` | HTTP 401, 403 | no |
| ``bad_request`` | any other 4xx: model name, schema, length of the prompt | no |
| ``not_recorded`` | a replay client was asked something new | no |
"""

OUTAGE = frozenset({"rate_limit", "server", "timeout", "connection"})  # waiting may help, and costs nothing
UNUSABLE = frozenset({"invalid_json", "ambiguous", "truncated", "empty"})  # the model's answer cannot be used
RETRIED = OUTAGE | UNUSABLE
# Most calls per question that may fail in this way: asking again usually gives the same.
MOST_CALLS = {"ambiguous": 2, "truncated": 3}


class CallFailed(Exception):
    """No answer, after all attempts. Pickles, and never contains a secret.

    Attributes:
      kind: one of the table above.
      attempts: calls made.
      detail: the last failure in one line.
      reply: the raw text of the last unusable answer, if any.
      hopeless: whether every other question will also fail: no access, no such model, no credit.
    """

    def __init__(self, kind: str, attempts: int, detail: str, reply: str | None = None, hopeless: bool = False):
        super().__init__(kind, attempts, detail, reply, hopeless)
        self.kind, self.attempts, self.detail, self.reply, self.hopeless = kind, attempts, detail, reply, hopeless

    def __str__(self) -> str:
        return f"{self.kind} after {self.attempts} attempt{'' if self.attempts == 1 else 's'}: {self.detail}"


class BudgetSpent(Exception):
    """The next call might exceed the budget, so it was not made. The answers so far are in the cache.

    Attributes:
      unit: ``tokens`` or ``usd``.
      limit, spent, needed: budget, used so far, upper bound of the call that was not made, in ``unit``.
    """

    def __init__(self, unit: str, limit: float, spent: float, needed: float):
        super().__init__(unit, limit, spent, needed)
        self.unit, self.limit, self.spent, self.needed = unit, limit, spent, needed

    def __str__(self) -> str:
        return (
            f"budget of {self.limit:g} {self.unit}: {self.spent:g} spent, and the next call may take {self.needed:g};"
            " raise the budget and run again to continue from the cache"
        )


class AttemptFailed(Exception):
    """One attempt gave no usable answer (internal: callers see ``CallFailed``).

    Attributes:
      kind, detail: as in ``CallFailed``.
      retry_after: seconds that the server asks us to wait.
      billed: whether the server may charge for the attempt.
      reply: raw text of the unusable answer.
      hopeless: as in ``CallFailed``; always true for the kinds ``auth`` and ``quota``.
    """

    def __init__(
        self,
        kind: str,
        detail: str,
        retry_after: float | None = None,
        billed: bool = False,
        reply: str | None = None,
        hopeless: bool = False,
    ):
        self.kind, self.retry_after, self.billed, self.reply = kind, retry_after, billed, reply
        self.hopeless = hopeless or kind in ("auth", "quota")
        self.detail = " ".join(detail.split())[:300]
        super().__init__(f"{kind}: {self.detail}")


def kind_of_status(status: int) -> str:
    """The kind of an HTTP error status."""
    if status == 429:
        return "rate_limit"
    if status in (401, 403):
        return "auth"
    if status in (408, 409) or status >= 500:
        return "server"
    return "bad_request"
