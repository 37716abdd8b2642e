"""Files of stories and prompts: published layouts, and malformed lines."""

import json

import pytest

from polaris_jax.errors import InputError
from polaris_jax.evals.generations import Generation, read_generations, write_generations
from polaris_jax.evals.prompts import join_prompts, packaged_sets, read_prompts


def lines(tmp_path, *rows, name="model.jsonl"):
    file = tmp_path / name
    file.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return file


def test_published_field_names_are_understood(tmp_path):
    file = lines(
        tmp_path,
        {
            "uid": 7,
            "prompt": [{"role": "system", "content": "x"}, {"role": "user", "content": "Tell."}],
            "output": "<think>plan</think>\n\nOnce.",
            "target_word_count": 900,
        },
        {"index": 3, "query": "Write 400 words.", "response": "Text.", "model": "gpt", "checklist": []},
        {"input": "It should be 1,200 words long.", "story": ""},
    )
    found, bad = read_generations(file)
    assert not bad
    assert [(g.id, g.prompt, g.story, g.target_words, g.model) for g in found] == [
        ("7", "Tell.", "Once.", 900, "model"),
        ("3", "Write 400 words.", "Text.", 400, "gpt"),
        ("line-3", "It should be 1,200 words long.", "", 1200, "model"),
    ]
    assert found[1].meta == {"checklist": []}


def test_a_length_in_characters_is_counted_in_characters(tmp_path):
    prompt = "Schreibe eine Geschichte von 400 Zeichen."
    file = lines(
        tmp_path, {"prompt": prompt, "story": "Am Fluss."}, {"id": "b", "prompt": prompt, "story": "So.", "length": 400}
    )
    assert [(g.target_words, g.unit, g.words) for g in read_generations(file)[0]] == [
        (400, "characters", 8),
        (400, "characters", 3),
    ]


def test_bad_lines_are_named_and_the_rest_is_read(tmp_path):
    file = lines(
        tmp_path,
        {"id": 1, "story": "A"},
        "{broken",
        '"text"',
        {"id": 1, "story": "again"},
        {"id": 2},
        {"id": 3, "story": 5},
        {"id": 4, "story": "B", "target_words": "many"},
    )
    found, bad = read_generations(file)
    assert [g.id for g in found] == ["1"]
    assert [b.line for b in bad] == [2, 3, 4, 5, 6, 7]
    assert "second story" in bad[2].reason


def test_a_file_without_a_story_is_the_callers_mistake(tmp_path):
    with pytest.raises(InputError, match="no story"):
        read_generations(lines(tmp_path, {"id": 1}))
    with pytest.raises(InputError, match="no such file"):
        read_generations(tmp_path / "absent.jsonl")
    (tmp_path / "latin").write_bytes(b'{"story": "caf\xe9"}')
    with pytest.raises(InputError, match="UTF-8"):
        read_generations(tmp_path / "latin")


def test_what_is_written_is_read_back(tmp_path):
    stories = [Generation("a", "P", "S – é", 100, "m", {"checklist": [1]}), Generation("b", "Q", "", None, "m")]
    write_generations(tmp_path / "g.jsonl", stories)
    assert read_generations(tmp_path / "g.jsonl")[0] == stories


def test_prompts_of_the_published_layouts(tmp_path):
    polaris = lines(tmp_path, {"uid": "p1", "prompt": "Tell it.", "target_word_count": 3000})
    assert [(p.id, p.target_words) for p in read_prompts(polaris)[0]] == [("p1", 3000)]
    longbench = lines(tmp_path, {"prompt": "Write 300 words", "type": "News", "length": 350})
    assert [(p.id, p.target_words, p.meta) for p in read_prompts(longbench)[0]] == [("line-1", 350, {"type": "News"})]
    creative = tmp_path / "creative.json"
    creative.write_text(json.dumps({"12": {"writing_prompt": "About <SEED>.", "seed_modifiers": ["a dog", "a cat"]}}))
    assert [(p.id, p.text) for p in read_prompts(creative)[0]] == [("12/1", "About a dog."), ("12/2", "About a cat.")]
    writingbench = lines(
        tmp_path,
        {"index": 1, "domain1": "Literature & Arts", "lang": "en", "query": "A", "checklist": [{"name": "c"}]},
        {"index": 2, "domain1": "Literature & Arts", "lang": "zh", "query": "B", "checklist": []},
        {"index": 3, "domain1": "Law", "lang": "en", "query": "C", "checklist": []},
    )
    assert [p.id for p in read_prompts(writingbench, domain="literature", language="en")[0]] == ["1"]
    whole = tmp_path / "list.json"
    whole.write_text(json.dumps([{"id": "x", "prompt": "P"}, {"id": "x", "prompt": "Q"}, 5]))
    found, bad = read_prompts(whole)
    assert ([p.text for p in found], [b.line for b in bad]) == (["P"], [2, 3])


def test_the_packaged_sets_are_usable():
    expected = {"smoke", "story-quality", "eqbench-creative", "eqbench-longform", "writingbench-d4", "longbench-write"}
    assert expected <= set(packaged_sets())
    for name in packaged_sets():
        prompts, bad = read_prompts(name)
        assert not bad
        assert all(prompt.target_words for prompt in prompts), name
    assert [p.target_words for p in read_prompts("story-quality")[0]] == [1000 * n for n in range(1, 13)]
    assert all(len(p.meta["checklist"]) == 5 for p in read_prompts("writingbench-d4")[0])
    with pytest.raises(InputError, match=r"packaged sets: .*smoke"):
        read_prompts("no-such-set")


def test_stories_find_their_prompts_by_id_or_by_their_beginning():
    prompts, _ = read_prompts("writingbench-d4")
    by_id = Generation("2", "", "S")
    by_text = Generation("line-9", prompts[0].text[:100] + " and more", "S", 50)
    stranger = Generation("x", "something else", "S")
    joined = join_prompts([by_id, by_text, stranger], prompts)
    assert (joined[0].prompt, len(joined[0].meta["checklist"])) == (prompts[1].text, 5)
    assert (joined[1].id, joined[1].target_words) == ("1", 50)
    assert joined[2] == stranger
