"""Streamed text is never taken back."""

from hypothesis import given
from hypothesis import strategies as st

from polaris_jax.sampling.detokenizer import IncrementalDetokenizer


@given(
    st.text(alphabet="abé…\n", max_size=30),
    st.lists(st.text(alphabet="abé", min_size=1, max_size=4), max_size=3),
    st.integers(1, 5),
)
def test_text_ends_before_the_first_stop_string_however_the_bytes_arrive(text, stop, size):
    stream, shown = IncrementalDetokenizer(stop), ""
    data = text.encode()
    for at in range(0, len(data), size):
        shown += stream.push(data[at : at + size])
        assert text.startswith(shown)
        assert not any(string in shown for string in stop)
        if stream.stopped:
            break
    shown += stream.flush()
    ends = [text.find(string) for string in stop if string in text]
    if ends:
        # The first complete stop ends the text, though a longer one may have begun earlier.
        assert stream.stopped
        assert any(text[len(shown) :].startswith(string) for string in stop)
    else:
        assert shown == text


def test_half_a_character_waits_for_its_other_half():
    stream = IncrementalDetokenizer()
    first, second = stream.push("é".encode()[:1]), stream.push("é".encode()[1:])
    assert (first, second) == ("", "é")
