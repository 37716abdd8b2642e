"""What llguidance's decoder makes of a stage's grammar."""

from llguidance import LLMatcher, LLTokenizer, grammar_from

TOKENIZER = LLTokenizer("byte")


def decoder_accepts(lark: str, text: str) -> bool:
    """Whether ``text`` is a whole member of the language of ``lark``."""
    matcher = LLMatcher(TOKENIZER, grammar_from("lark", lark), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    tokens = list(text.encode())
    if matcher.validate_tokens(tokens) < len(tokens):
        return False
    matcher.consume_tokens(tokens)
    return matcher.is_accepting()
