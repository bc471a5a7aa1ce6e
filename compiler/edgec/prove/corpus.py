"""Texts on which tokenizers are known to disagree: scripts, code, whitespace, digits, emoji, marks, special tokens.

Rule: fixed texts with fixed names; nothing is random, so that a failure names its piece and can be seen again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Piece:
    """One text of the corpus."""

    name: str
    text: str


# Prose: everyday sentences with numbers, names and punctuation of each script.
_SCRIPTS: dict[str, str] = {
    "english": "The quick brown fox jumps over 13 lazy dogs, doesn't it? Yes: it's 7:45 a.m. on the 21st of June.",
    "german": "Die Straßenbahn fährt um 8.30 Uhr über die Brücke; Übermut tut selten gut, sagte Frau Größe.",
    "french": "L'été dernier, j'ai goûté la crème brûlée « à l'anglaise » chez Léa ; c'était délicieux, n'est-ce pas ?",
    "spanish": "¿Dónde está el baño? ¡Qué pingüino tan pequeño! El niño pidió 1.234,50 euros.",
    "turkish": "İstanbul'da ılık bir ağaç gölgesinde çay içtik; DİYARBAKIR ve ısırgan.",
    "polish": "Zażółć gęślą jaźń, a w Łodzi już świta o piątej.",
    "vietnamese": "Tiếng Việt có nhiều dấu: đường phố Hà Nội rất đẹp vào mùa thu.",
    "icelandic": "Þórður á Íslandi ætlar að læra eðlisfræði.",
    "greek": "Η γρήγορη αλεπού πηδά πάνω από τον τεμπέλη σκύλο· ΟΔΥΣΣΕΥΣ και ἄνθρωπος.",
    "russian": "Съешь же ещё этих мягких французских булок, да выпей чаю в 17:30.",
    "ukrainian": "Ґанок, їжак і п'ять єнотів — щастя!",
    "bulgarian": "Нещо на български: жълтата дюля беше щастлива.",
    "armenian": "Բարեւ ձեզ, ինչպե՞ս եք։ Երեւանը գեղեցիկ է։",
    "georgian": "გამარჯობა, როგორ ხართ? თბილისი ლამაზი ქალაქია. ᲗᲑᲘᲚᲘᲡᲘ",
    "hebrew": "שלום עולם, מה שלומך היום? בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "arabic": "مرحبا بالعالم، كيف حالك اليوم؟ السَّلَامُ عَلَيْكُمْ ١٢٣٤٥",
    "persian": "می‌خواهم به کتاب‌خانه بروم؛ ۱۲۳۴۵ ریال.",
    "urdu": "یہ ایک جملہ ہے۔ آپ کیسے ہیں؟",
    "hindi": "नमस्ते दुनिया, आप कैसे हैं? क्षत्रिय ज्ञान १२३४५।",
    "bengali": "আমার সোনার বাংলা, আমি তোমায় ভালোবাসি। ১২৩",
    "punjabi": "ਸਤ ਸ੍ਰੀ ਅਕਾਲ, ਤੁਸੀਂ ਕਿਵੇਂ ਹੋ?",
    "gujarati": "નમસ્તે, તમે કેમ છો? ૧૨૩",
    "tamil": "வணக்கம் உலகம், நீங்கள் எப்படி இருக்கிறீர்கள்?",
    "telugu": "నమస్కారం ప్రపంచం, మీరు ఎలా ఉన్నారు?",
    "kannada": "ನಮಸ್ಕಾರ ಜಗತ್ತು, ಹೇಗಿದ್ದೀರಿ?",
    "malayalam": "നമസ്കാരം ലോകം, സുഖമാണോ?",
    "sinhala": "ආයුබෝවන් ලෝකය, කොහොමද?",
    "thai": "สวัสดีชาวโลก วันนี้อากาศดีมาก ราคา ๑๒๓ บาท",
    "lao": "ສະບາຍດີຊາວໂລກ ມື້ນີ້ອາກາດດີ",
    "khmer": "សួស្តី\u200bពិភពលោក កាន់តែពិសេសអាច",
    "burmese": "မင်္ဂလာပါ ကမ္ဘာလောက၊ နေကောင်းလား။",
    "tibetan": "བཀྲ་ཤིས་བདེ་ལེགས། ཁྱེད་རང་སྐུ་གཟུགས་བདེ་པོ་ཡིན་པས།",
    "amharic": "ሰላም ዓለም፣ እንዴት ነህ? ፲፪",
    "korean": "안녕하세요 세계, 오늘은 2024년 3월 5일입니다. ㅋㅋㅋ",
    "japanese": "こんにちは世界。私はリンゴを3個食べました！ｶﾀｶﾅと「カギ括弧」、ー〜",
    "chinese": "你好，世界！我想在apple工作1314151天～今天天气很好。𠮷野家",
    "chinese traditional": "你好，世界！這隻龜很老，「繁體」字體。",
    "mongolian": "ᠮᠣᠩᠭᠣᠯ ᠪᠢᠴᠢᠭ",
    "cherokee": "ᎣᏏᏲ ᎡᎶᎯ ꭰꭱ",
    "mixed scripts": "naïve东京Привет123שלום-テスト_ελληνικά/한글",
}

_CODE: dict[str, str] = {
    "python": (
        "def f(x: int = 0) -> list[int]:\n    \"\"\"Doc.\"\"\"\n\tif x >= 10:\n        return [i**2 for i in x]\n"
        "\n\n    raise ValueError(f'{x!r}')  # done\n"
    ),
    "c": "#include <a.h>\nint main(void) {\n\tprintf(\"%5.2f\\n\", 3.14e-10f);\n\treturn a->b && !c | ~d ^ 0xFFu;\n}\n",
    "rust": "fn main() -> Result<(), Box<dyn Error>> { let x: &'a str = r#\"raw\"#; println!(\"{x:?}\"); Ok(()) }",
    "javascript": "const f = async (a, b) => ({...a, [b]: `x${b ?? 1}`}); /* x */ // y\nf?.(1)?.[2] !== null;",
    "html": "<div class=\"a b\" id='c'><p>Text &amp; more&nbsp;…</p><!-- note --><br/></div>",
    "json": "{\"a\": [1, -2.5e+3, null, true], \"b\\u00e9\": {\"c\": \"\\n\\t\\\\\"}}",
    "shell": "for f in *.txt; do echo \"$f\" | sed -e 's/[a-z]\\+/X/g' >> out.log 2>&1; done && exit ${?#0}",
    "sql": "SELECT a.id, COUNT(*) FROM t1 AS a LEFT JOIN t2 b ON a.id=b.id WHERE x<>'y''z' GROUP BY 1;",
    "latex": "\\begin{equation} \\int_0^\\infty e^{-x^2}\\,dx = \\frac{\\sqrt{\\pi}}{2} \\end{equation}",
    "diff": "--- a/x.c\n+++ b/x.c\n@@ -1,3 +1,4 @@\n-old\n+new\n context\n",
    "url": "https://user:pass@example.com:8080/a/b%20c?q=1&r=%E2%82%AC#frag (mailto:a.b+c@d-e.org)",
    "identifiers": "camelCase PascalCase snake_case SCREAMING_SNAKE kebab-case x86_64 __init__ getHTTPResponseCode2",
    "assembly": "mov\teax, [ebx+4*ecx-0x10]\t; load\njne\t.L2",
}  # fmt: skip

_WHITESPACE: dict[str, str] = {
    "empty": "",
    "one space": " ",
    "two spaces": "  ",
    "three spaces": "   ",
    "forty spaces": " " * 40,
    "leading space": " hello",
    "leading spaces": "   hello",
    "trailing space": "hello ",
    "trailing spaces": "hello    ",
    "double spaces": "a  b   c    d     e",
    "tab": "\t",
    "tabs": "a\tb\t\tc\t\t\td\n\t\te",
    "newline": "\n",
    "newlines": "a\nb\n\nc\n\n\nd\n\n\n\n",
    "crlf": "line one\r\nline two\r\n\r\nline four\r",
    "mixed runs": "\n \n\n \n\n\n \t \t\t \t\n  \n   \n    \n     \n",
    "space before newline": "a \n b  \n  c \t\n",
    "indented block": "    a\n        b\n            c\n\td\n\t\te",
    "no-break spaces": "a\u00a0b\u00a0\u00a0c \u00a0d\u202fe",
    "unicode spaces": "a\u2003b\u2009c\u3000d\u2028e\u2029f\u1680g\u205fh",
    "zero width": "a\u200bb\u200cc\u200dd\ufeffe\u2060f",
    "vertical tab and form feed": "a\x0bb\x0cc",
    "next line": "a\u0085b",
}

_DIGITS: dict[str, str] = {
    "digit runs": "1 12 123 1234 12345 123456 1234567 12345678 123456789 1234567890",
    "numbers": "3.14159 -2.5e-10 1,000,000.00 0xDEADBEEF 0b1010 1_000 50% $9.99 №5 1/2 10:30:00 192.168.0.1",
    "digits and letters": "a1b22c333d4444 2nd 3D 4x4 H2O CO2 v1.2.3-rc4 10km",
    "other digits": "²³¹ ½¾ ⅓ Ⅷ ⅷ ①②③ 一二三 ٠١٢٣٤٥٦٧٨٩ ०१२३ 𝟘𝟙𝟚 𝟏𝟐 ༣",
}

_PUNCTUATION: dict[str, str] = {
    "ascii punctuation": "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "runs": "...... ------======= !!!!!!?????? ''''''```````\"\"\"\" ((((())))) ~~~ ___ *** ### $$$ ^^^ ||| <<<>>>",
    "typographic": "“quotes” ‘single’ „low“ ‚x‘ «guillemets» — – ‐ … • † ‡ § ¶ © ® ™ ° ± × ÷ ≠ ≤ ∞ € £ ¥ ₹ ₿",
    "cjk punctuation": "、。，．・：；？！「」『』【】（）〔〕《》〈〉〜～…‥ー",
    "spaced": "a , b . c ! d ? e ; f : g ' h \" i ( j ) k",
    "after spaces": " . ,  !   ? 'x' \"y\" (z)",
    "math": "∀x∈ℝ: ⌈x⌉ = −⌊−x⌋, α ∧ ¬β = ¬(¬α ∨ β), ℕ ⊆ ℕ₀ ⊂ ℤ ∑∏∫√∂∇",
    "symbols": "←↑→↓↔⇒⇔ ★☆♠♥♦♣ ♪♫ ☎✓✗ █▓▒░ ┌─┐│└┘ ⠿⡇",
}

_CONTRACTIONS: dict[str, str] = {
    "contractions": "I'm you're he's we'll they've I'd can't it's 'tis 'twas rock'n'roll o'clock James's",
    "contractions upper": "I'M YOU'RE HE'S WE'LL THEY'VE I'D CAN'T IT'S 'TIS",
    "contractions mixed": "I'm 'RE you sure? 'M not sure I'll make it, 'D you like some tea? We'Ve a'lL he'S wE'rE",
    "curly apostrophes": "I’m you’re he’s we’ll they’ve I’d can’t",
    "apostrophes and spaces": "a 's b 't c're 'll' 've' 'd' ''s s'' 's's's",
    "long s": "'ſ 'S 's it'ſ 'Kelvin K",
}

_EMOJI: dict[str, str] = {
    "emoji": "🚀 (normal) 😀😃 ✅ 🦙🦙 ❤️ ☺️ 💯%",
    "emoji joined": "👨‍👩‍👧‍👦 👩🏽‍💻 🏳️‍🌈 😶‍🌫️ 🧑🏿‍🤝‍🧑🏻",
    "emoji flags": "🇩🇪🇫🇷🇬🇧 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "emoji skin tones": "👍👍🏻👍🏼👍🏽👍🏾👍🏿",
    "emoji keycaps": "1️⃣2️⃣#️⃣*️⃣",
    "emoji in words": "hello🌍world 42🎉x",
}

_MARKS: dict[str, str] = {
    "composed and decomposed": "é e\u0301 ñ n\u0303 ü u\u0308 å a\u030a A\u030a \u212b ﬁ ﬀ",
    "stacked marks": "Z\u0351\u036b\u0343a\u0321\u0309l\u0334\u0338g\u0322\u0300o\u0328\u0301 q\u0307\u0323",
    "hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af 한글",
    "lone marks": "\u0301 \u0301a a\u0301\u0301 1\u0301 !\u0301",
    "compatibility": "ｆｕｌｌ　ｗｉｄｔｈ ① ﷺ ㎏ ℡ Ǆ ŀ ſ ª º",
    "case without partner": "ß ẞ ǅ ı İ ŉ ǰ ΐ Σ σ ς Ω ᾳ",
}

_RARE: dict[str, str] = {
    "controls": "a\x01b\x07c\x1bd\x7fe\x80f\x9fg",
    "noncharacters": "a\ufffdb\ufffec\uffffd\U0001fffee",
    "private use": "\ue000\uf8ff\U000f0000",
    "unassigned": "a\u0378b\U000e0fffc",
    "historic scripts": "𐌰𐌱𐌲 𓀀𓀁 𒀀𒀁 𐎠𐎡 ᚠᚢᚦ 𐤀𐤁 𝕳𝖊𝖑𝖑𝖔 𝒜𝓁",
    "bidirectional": "a\u202eb\u202cc\u2066d\u2069 \u200f\u200e",
    "lower one eighth block": "▁ ▁a a▁b ▁▁▁ ▂",
    "byte alphabet": "Ġ Ċ ĉ ÄÖÜ Ã© ł",
    "word pieces": "##ing ## un##able [UNK] [CLS] [PAD]x <0x0A> <0xFF>",
    "long word": "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "very long word": "abcdefghij" * 30,
    "one letter": "a" * 257,
    "long chinese": "的是一在不了有和人这" * 15,
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "chat": "User: Hi!\n\nAssistant: Hello, how can I help you today?\n\nUser: 2+2=?\n",
}

_GROUPS: dict[str, dict[str, str]] = {
    "script": _SCRIPTS,
    "code": _CODE,
    "whitespace": _WHITESPACE,
    "digits": _DIGITS,
    "punctuation": _PUNCTUATION,
    "contractions": _CONTRACTIONS,
    "emoji": _EMOJI,
    "marks": _MARKS,
    "rare": _RARE,
}
# A few special tokens are tried in every position; the others once each.
_EVERY_POSITION = 6
_IN_ONE_TEXT = 24


def _special(tokens: Sequence[str]) -> list[Piece]:
    pieces = []
    for token in tokens[:_EVERY_POSITION]:
        shapes = {
            "alone": token,
            "between words": f"one{token}two",
            "between spaces": f"one {token} two",
            "after a newline": f"one\n{token}\ntwo",
            "twice": token + token,
            "cut": token[:-1] + " " + token[1:],
            "before spaces": f"{token}  two",
        }
        pieces += [Piece(f"special/{token} {name}", text) for name, text in shapes.items()]
    for start in range(0, len(tokens), _IN_ONE_TEXT):
        chosen = tokens[start : start + _IN_ONE_TEXT]
        text = "".join(f"{token}word {i}" for i, token in enumerate(chosen))
        pieces.append(Piece(f"special/tokens {start} to {start + len(chosen) - 1}", text))
    return pieces


def corpus(special_tokens: Sequence[str]) -> tuple[Piece, ...]:
    """All pieces, in a fixed order; those with `special_tokens` (texts, in the order of their ids) come last."""
    fixed = [Piece(f"{group}/{name}", text) for group, texts in _GROUPS.items() for name, text in texts.items()]
    return (*fixed, *_special(special_tokens))
