"""A language model and a classifier judge whether a passage supports a bullet; failures, budgets and bad input."""

import json
import math
import re

import pytest

from polaris_jax.errors import InputError
from polaris_jax.llm import BudgetSpent, ClientSpec
from polaris_jax.scaffold import FULL, EntailmentSpec, OfflineAnnotator, build_books, open_entailment, review_plan
from polaris_jax.scaffold.analysis.novel_stats import analyse
from polaris_jax.scaffold.review import judge_bullet
from polaris_jax.scaffold.review.bullets import pooled
from polaris_jax.scaffold.review.entailment_nli import spans

PASSAGE = "Agnes climbed the stair with the lamp. She burned the ledger in the stove. Tom waited below by the door."
OTHER = "Mr. Pell counted his money in the town. He wrote a letter and told nobody of it."
PAIRS = [
    (PASSAGE, "Agnes burns the ledger."),
    (OTHER, "Mr. Pell buys a horse."),
    (PASSAGE, "Tom burns the ledger."),
    (OTHER, "Mr. Pell writes a letter."),
]
TRUE = {"Agnes burns the ledger.", "Mr. Pell writes a letter."}


def spec(server, **fields):
    given = {"base_url": f"{server.address}/v1", "backoff": 0.0, "attempts": 1, "concurrency": 2} | fields
    return EntailmentSpec(ClientSpec("openai", "toy", **given))


def ask(spec, pairs=PAIRS):
    judge = open_entailment(spec)
    try:
        return judge.probabilities(pairs), judge
    finally:
        judge.close()


def notes(body):
    """Number of a note -> the note, in a question."""
    return dict(re.findall(r"^(\d+)\. (.+)$", body["messages"][-1]["content"].partition("Notes:")[2], re.M))


def words(body, true=TRUE):
    return json.dumps({number: "yes" if line in true else "no" for number, line in notes(body).items()}), "stop"


def test_words_without_probabilities_count_and_each_passage_is_sent_once(serve):
    server = serve(words)
    said, _ = ask(spec(server))
    assert said == [0.9, 0.1, 0.1, 0.9]
    assert sorted(body["messages"][-1]["content"].split("\n")[0][:5] for body in server.requests) == ["Agnes", "Mr. P"]
    assert all(body["top_logprobs"] == 5 for body in server.requests)


def test_more_bullets_than_one_question_holds_are_asked_in_batches(serve):
    server = serve(words)
    lines = [f"Tom waits for hour {n}." for n in range(17)] + ["Agnes burns the ledger."]
    said, _ = ask(spec(server), [(PASSAGE, line) for line in lines])
    assert said == [0.1] * 17 + [0.9]
    assert sorted(len(notes(body)) for body in server.requests) == [2, 8, 8]


def with_probabilities(body):
    tokens = [("{", {}), ('"1":', {}), (' "', {}), ("yes", {"yes": 0.2, "no": 0.6, "Yes": 0.1, "x": 0.1})]
    tokens += [('", "2', {}), ('": "no', {"no": 1.0}), ('"}', {})]
    content = []
    for token, found in tokens:
        alternatives = [{"token": text, "logprob": math.log(chance)} for text, chance in (found or {token: 1}).items()]
        content.append({"token": token, "top_logprobs": alternatives})
    return "".join(token for token, _ in tokens), "stop", {"content": content}


def test_probabilities_of_the_server_count_and_a_word_where_it_gives_only_one(serve):
    said, _ = ask(spec(serve(with_probabilities)), [PAIRS[0], PAIRS[2]])
    assert said == pytest.approx([1 / 3, 0.1])


def test_a_server_that_refuses_to_give_probabilities_is_asked_for_words(serve):
    server = serve(lambda body: 400 if "logprobs" in body else words(body))
    said, _ = ask(spec(server))
    assert said == [0.9, 0.1, 0.1, 0.9]
    assert server.calls == 3


def test_a_long_passage_is_judged_in_pieces_and_the_best_counts(serve):
    def only_where_it_stands(body):
        return words(body, TRUE if "burned the ledger" in body["messages"][-1]["content"] else ())

    server = serve(only_where_it_stands)
    long = "\n\n".join([*["The rain went on over the mill and the weir, and nobody came."] * 900, PASSAGE])
    said, _ = ask(spec(server), [(long, "Agnes burns the ledger."), (long, "Tom burns the ledger.")])
    assert said == [0.9, 0.1]
    assert server.calls > 3
    assert max(len(body["messages"][-1]["content"]) for body in server.requests) < 12_000


def test_a_question_without_an_answer_leaves_its_bullets_open(serve):
    server = serve(lambda body: 500 if "Pell" in body["messages"][-1]["content"] else words(body))
    said, judge = ask(spec(server))
    assert said == [0.9, None, 0.1, None]
    assert judge.client.usage.failed == 1


@pytest.mark.parametrize("said", [("", "stop"), ("It is hard to say.", "stop"), 401])
def test_a_hopeless_model_is_left_in_one_line(serve, said):
    server = serve(lambda body: said)
    with pytest.raises(InputError) as stopped:
        ask(spec(server), [(f"{PASSAGE} {n}", "Tom waits.") for n in range(60)])
    assert server.calls <= 20
    assert "\n" not in str(stopped.value)


def test_a_spent_budget_stops_and_a_larger_one_goes_on_from_the_cache(serve, tmp_path):
    server = serve(words)
    pairs = [(f"{PASSAGE} {n}", "Tom waits.") for n in range(6)]
    with pytest.raises(BudgetSpent):
        ask(spec(server, cache=str(tmp_path), budget_tokens=1_650), pairs)
    before = server.calls
    assert 0 < before < 6
    said, _ = ask(spec(server, cache=str(tmp_path)), pairs)
    assert said == [0.1] * 6
    assert server.calls == 6


def test_a_real_server_answers_with_probabilities(smollm2):
    client = ClientSpec("openai", "smollm2", base_url=smollm2, concurrency=1, attempts=2, backoff=0.01)
    said, judge = ask(EntailmentSpec(client), PAIRS[:1])
    assert judge.client.usage.failed == 0
    assert 0 < said[0] < 1
    assert said[0] not in (0.1, 0.9)


@pytest.fixture
def classifier(tmp_path):
    """``classifier(labels, **fields)``: a small random BERT classifier in a folder; the same weights at every call."""
    torch = pytest.importorskip("torch", reason="pip install polaris-jax[nli] to run this")
    transformers = pytest.importorskip("transformers", reason="pip install polaris-jax[nli] to run this")

    def make(labels, head=True):
        folder = tmp_path / "-".join(["nli", *labels, str(head)])
        letters = "abcdefghijklmnopqrstuvwxyz"
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters), "."]
        folder.mkdir()
        (folder / "vocab.txt").write_text("\n".join(vocabulary))
        transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=512).save_pretrained(folder)
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            id2label=dict(enumerate(labels)), label2id={label: i for i, label in enumerate(labels)},
            initializer_range=0.5,
        )  # fmt: skip
        kind = transformers.BertForSequenceClassification if head else transformers.BertModel
        kind(config).save_pretrained(folder)
        return str(folder)

    return make


THREE = ("contradiction", "neutral", "entailment")
TURNED = ("ENTAILMENT", "neutral", "contradiction")


def plain(folder, passage, bullet):
    """Probability of each label for one pair, by transformers alone."""
    import torch
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model(**tokenizer(passage, bullet, return_tensors="pt")).logits.softmax(-1)[0].tolist()


@pytest.mark.parametrize(("labels", "index"), [(THREE, 2), (TURNED, 0), (("not_entailment", "entailment"), 1)])
def test_a_classifier_is_read_by_its_own_order_of_labels(classifier, labels, index):
    folder = classifier(labels)
    said, judge = ask(EntailmentSpec(folder=folder))
    assert said == pytest.approx([plain(folder, *pair)[index] for pair in PAIRS], abs=1e-5)
    assert len(set(said)) == 4
    assert judge.identity.startswith("nli/nli-")


def test_the_best_window_of_a_long_passage_counts(classifier):
    folder = classifier(THREE)
    long = " ".join(f"The {word} went down to the mill and saw {word * 2} there." for word in "abcdefghijklm")
    windows = spans(long)
    assert len(windows) == 4
    assert set(re.findall(r"The . went", long)) == set(re.findall(r"The . went", " ".join(windows)))
    (said,), _ = ask(EntailmentSpec(folder=folder), [(long, "Agnes burns the ledger.")])
    alone = [plain(folder, window, "Agnes burns the ledger.")[2] for window in windows]
    assert said == pytest.approx(max(alone), abs=1e-5)
    assert max(alone) - min(alone) > 1e-3


def test_bad_folders_are_refused_in_one_line(classifier, tmp_path, serve):
    (tmp_path / "empty").mkdir()
    torn = tmp_path / "torn"
    torn.mkdir()
    (torn / "config.json").write_text("{")
    for folder, told in {
        str(tmp_path / "nowhere"): "no classifier",
        str(tmp_path / "empty"): "no classifier",
        str(torn): "cannot be read",
        classifier(("yes", "no")): "id2label has: yes, no",
        classifier(THREE, head=False): "no classifier: classifier.bias is missing",
    }.items():
        with pytest.raises(InputError, match=re.escape(told)) as refused:
            open_entailment(EntailmentSpec(folder=folder))
        assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match="not both"):
        open_entailment(EntailmentSpec(ClientSpec("openai", "toy"), "folder"))


def test_nobody_is_asked_by_default():
    assert open_entailment(EntailmentSpec()) is None
    assert EntailmentSpec().identity() is None


def test_the_two_probabilities_are_pooled_by_their_log_odds():
    assert pooled(0.7, 0.5) == pytest.approx(0.7)
    assert pooled(0.7, 0.9) > 0.7 > pooled(0.7, 0.1)
    assert pooled(0.0, 1.0) < 0.5  # a plain fault stands
    assert pooled(1.0, 0.0) < 0.5 < pooled(1.0, 0.5) == pytest.approx(0.8)  # a clean bill does not
    stats = analyse(PASSAGE)
    alone = judge_bullet("Agnes burns the ledger.", PASSAGE, stats)
    against = judge_bullet("Agnes burns the ledger.", PASSAGE, stats, entailed=0.02)
    assert against.score < alone.score
    assert against.supported == pytest.approx(pooled(alone.supported, 0.02))
    assert (alone.why, against.why) == ("", "entailment")


class Fixed:
    """A judge with one opinion; None for every third bullet."""

    identity = "fixed"

    def __init__(self, opinion):
        self.opinion = opinion

    def probabilities(self, pairs):
        return [None if number % 3 == 0 else self.opinion for number in range(len(pairs))]


def test_a_review_says_who_was_asked_and_what_stayed_open(hallin):
    (book,) = build_books(hallin, OfflineAnnotator(), FULL)
    prose = "\n\n".join(chapter.text for chapter in book.chapters)
    alone, liked, not_liked = review_plan(book, prose), *(review_plan(book, prose, Fixed(p)) for p in (0.95, 0.05))
    assert alone.model is None
    assert liked.model.name == "fixed"
    assert liked.model.unanswered == -(-liked.model.bullets // 3)
    assert liked.parts["supported"] > alone.parts["supported"] > not_liked.parts["supported"]
    assert liked.parts["grammar"] == alone.parts["grammar"]
    assert json.loads(json.dumps(liked.facts()))["model"]["unanswered"] == liked.model.unanswered
