"""What a run looks like to a person: one self-contained HTML page, without scripts and without a network.

``write_report(workdir)`` turns what ``polaris demo`` left behind (books, transcripts, training record, written book)
into ``report.html``; ``transcript_html(transcript, title)`` shows any transcript coloured by stage role and by kind.
Every number on a page is read from the files of the run; a piece that does not exist yet becomes a sentence.
"""

from polaris_jax.report.demo_report import write_report
from polaris_jax.report.transcript_view import transcript_html

__all__ = ["transcript_html", "write_report"]
