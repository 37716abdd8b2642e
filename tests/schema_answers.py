"""Answers that satisfy a JSON schema, for servers that stand in for a language model."""

import re

WORDS = ("quiet", "narrow", "patient", "sudden", "broken", "distant", "honest", "careful", "lonely", "bitter", "gentle")


def schema_answer(schema: dict, seed: int, question: str, name: str = ""):
    """A value that satisfies the schema and differs with the seed.

    Args:
      question: the prompt; one that asks for a prompt of N to M words gets N.
      name: of the field that the schema describes.
    """
    word = WORDS[seed % len(WORDS)]
    match schema["type"]:
        case "object":
            parts = enumerate(schema["properties"].items())
            return {key: schema_answer(part, seed + 7 * number, question, key) for number, (key, part) in parts}
        case "array":
            count = max(1, schema.get("minItems", 1))
            if schema["items"]["type"] == "integer":
                return list(range(schema["items"]["minimum"], schema["items"]["minimum"] + count))
            return [schema_answer(schema["items"], seed + 3 * number, question, name) for number in range(count)]
        case "integer" | "number":
            return min(40, schema.get("maximum", 40))
    if "enum" in schema:
        return schema["enum"][seed % len(schema["enum"])]
    if name in ("highlight", "archetype"):
        return " ".join([f"It is a {word} story about people who choose {word} ways."] * 8)
    if name in ("name", "title", "focuses", "tags", "perspective"):
        return f"a {word} matter {seed % 997}"
    if name == "prompt":
        return " ".join(["please"] * int(re.search(r"(\d+) to \d+ words", question).group(1)))
    return f"somebody makes a {word} choice numbered {seed % 9973} here."
