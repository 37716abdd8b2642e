"""Where sentences end, in any script."""

import re

# A terminator and closing marks after it. In scripts with blanks, white space or the end of the text follows.
_END = re.compile(
    r"[.!?\u2026\u061f\u06d4]+[\"'\u201d\u2019\u00bb)\]]*(?=\s|$)"
    r"|[\u3002\uff01\uff1f]+[\u300d\u300f\u201d\u2019\u300b\uff09)\]]*|\u2026+[\u300d\u300f\u201d\u2019]"
)


def last_sentence_end(text: str) -> int:
    """Length of the longest prefix of ``text`` that ends with a finished sentence; 0 if there is none."""
    end = 0
    for found in _END.finditer(text):
        end = found.end()
    return end
