"""llama.cpp's pre-tokenizers by name, as the split steps tokenizer.json spells for them.

Rule: a structure is here only if tests/formats/gguf/vocabulary proves its ids on the real runtime. Where llama.cpp's
own pattern is an approximation, `runtime` holds that pattern, so that the proof can tell this limit from a fault.
"""

from __future__ import annotations

from dataclasses import dataclass

# Markers of steps that are no regular expression.
BYTES = "<bytes>"
PUNCTUATION_RUNS = "<punctuation runs>"

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
_LLAMA3 = CONTRACTIONS + _WORDS + r"\p{N}{1,3}" + _SIGNS + _SPACES
_QWEN2 = CONTRACTIONS + _WORDS + r"\p{N}" + _SIGNS + _SPACES
_QWEN35 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACES
_UFAKZEKA = _WORDS[1:] + r"\p{N}" + _SIGNS + _SPACES
_MINICPM5 = CONTRACTIONS + _WORDS + r"\p{N}+" + _SIGNS + _SPACES
_SEED_CODER = CONTRACTIONS + _WORDS + r"\p{N}| ?[^\s\p{L}\p{N}\r\n]+" + _SPACES
_BAILINGMOE = CONTRACTIONS + _WORDS + r"\p{N}" + _SIGNS + r"|\s*[\r\n]|\s+(?!\S)|\s+"
_HALVING = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
_JAIS2 = CONTRACTIONS + _WORDS + r"\p{N}{1,3}" + _SIGNS + r"|\s*[\r\n]+|" + _HALVING
_EXAONE_MOE = (
    CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_DEEPSEEK_V3 = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
) + _SPACES
_HAN_AND_KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_HAN_TO_HANGUL = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"

# Words split where upper case follows lower case (`tekken`, `gpt-4o`): by Unicode's case in tokenizer.json ...
_TITLE = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
_UPPER = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
_CASE_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _SPACES
_TEKKEN = _TITLE + "|" + _UPPER + r"|\p{N}" + _CASE_TAIL
_GPT4O = _TITLE + CONTRACTIONS + "?|" + _UPPER + CONTRACTIONS + r"?|\p{N}{1,3}" + _CASE_TAIL
# ... and by ASCII's case in llama.cpp, whose regular expressions know no Unicode case.
_ASCII_CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"


def _ascii_case(letters: str, contractions: str, digits: str) -> str:
    upper, lower = rf"(?:(?=[{letters}])[^a-z])", rf"(?:(?=[{letters}])[^A-Z])"
    start = r"[^\r\n\p{L}\p{N}]?"
    words = f"{start}{upper}*{lower}+{contractions}|{start}{upper}+{lower}*{contractions}"
    return f"{words}|{digits}{_CASE_TAIL}"


@dataclass(frozen=True)
class Structure:
    """One pre-tokenizer. `ignore_merges`: a whole word in the vocabulary wins over its merges.

    `steps`: isolated splits in order. `runtime`: the steps as llama.cpp does them, None where ids are the same.
    """

    name: str
    steps: tuple[str, ...]
    ignore_merges: bool = False
    runtime: tuple[str, ...] | None = None


def _one(name: str, pattern: str, *, ignore_merges: bool = False, runtime: str | None = None) -> Structure:
    own = None if runtime is None else (runtime, BYTES)
    return Structure(name, (pattern, BYTES), ignore_merges, own)


# Of several names for one structure the first is chosen, which is the one that changes decoded text least.
STRUCTURES: tuple[Structure, ...] = (
    _one("llama-bpe", _LLAMA3, ignore_merges=True),
    _one("smaug-bpe", _LLAMA3),
    _one("qwen2", _QWEN2),
    _one("qwen35", _QWEN35),
    _one("gpt-2", GPT2),
    Structure("smollm", (r"\p{N}", GPT2, BYTES)),
    _one("tekken", _TEKKEN, ignore_merges=True, runtime=_ascii_case(r"\p{L}", "", r"\p{N}")),
    _one("gpt-4o", _GPT4O, runtime=_ascii_case(r"\p{L}", _ASCII_CONTRACTIONS + "?", r"\p{N}{1,3}")),
    Structure("deepseek-v3", (r"\p{N}{1,3}", _HAN_AND_KANA, _DEEPSEEK_V3, BYTES)),
    Structure("deepseek-coder", (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _HAN_TO_HANGUL, r"\p{N}", BYTES)),
    Structure("falcon", (PUNCTUATION_RUNS, GPT2, BYTES, r"\p{N}+", "[0-9][0-9][0-9]")),
    Structure("minicpm5", (r"\p{N}{1,3}", _MINICPM5, BYTES), ignore_merges=True),
    _one("seed-coder", _SEED_CODER),
    _one("bailingmoe", _BAILINGMOE),
    _one("ufakzeka", _UFAKZEKA),
    _one("exaone-moe", _EXAONE_MOE),
    _one("jais-2", _JAIS2),
    _one("bloom", _BLOOM),
)

# Patterns that match every character: splitting by them and keeping only the matches loses nothing.
TOTAL_PATTERNS = frozenset({_LLAMA3, _QWEN2, _QWEN35, _UFAKZEKA, _MINICPM5, _BAILINGMOE, _TEKKEN, _GPT4O, GPT2})

# Every name the pinned llama.cpp accepts; an override may be any of them.
RUNTIME_NAMES = frozenset((
    "default", "minicpm5", "llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
    "jina-v5-nano", "deepseek-llm", "deepseek-coder", "deepseek-v3", "spark2_5", "youtu", "falcon", "mpt",
    "starcoder", "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0",
    "mellum", "modern-bert", "jais-2", "gemma4", "granite-embed-multi-311m", "sarvam-moe", "jina-v1-en",
    "jina-v2-code", "roberta-bpe", "refact", "command-r", "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "qwen35",
    "stablelm2", "olmo", "dbrx", "smaug-bpe", "poro-chat", "chatglm-bpe", "glm4", "glm5", "viking", "jais",
    "tekken", "smollm", "codeshell", "bloom", "gpt3-finnish", "exaone", "exaone4", "exaone-moe", "chameleon",
    "minerva-7b", "megrez", "gpt-4o", "llama4", "kanana2", "talkie", "granite-embed-multi-97m", "tiny_aya",
    "cohere2moe", "superbpe", "trillion", "granite-docling", "bailingmoe", "bailingmoe2", "llada-moe", "seed-coder",
    "hunyuan", "hunyuan-dense", "hy_v4", "joyai-llm", "ufakzeka", "grok-2", "afmoe", "laguna", "minimax-m2",
    "solar-open", "mellum2",
))  # fmt: skip
