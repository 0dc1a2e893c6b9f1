"""Words by which claims are known; written for this project, from the advertising codes' topics."""

import re
from typing import Final

_UP_TO_TWENTY: Final = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
sixteen seventeen eighteen nineteen twenty
"""
NUMBER_WORDS: Final = {
    **{word: value for value, word in enumerate(_UP_TO_TWENTY.split())},
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "seventy": 70,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
    "thousand": 1000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
}
_SPELLED_UNITS: Final = {
    "%": ("percent", "per cent"),
    "\u20ac": ("euro", "eur"),
    "$": ("dollar", "usd"),
    "\u00a3": ("pound", "gbp"),
    "g": ("gram", "gramme"),
    "kg": ("kilo", "kilogram"),
    "l": ("liter", "litre"),
    "mm": ("millimeter", "millimetre"),
    "cm": ("centimeter", "centimetre"),
    "m": ("meter", "metre"),
    "km": ("kilometer", "kilometre"),
    "second": ("sec",),
    "minute": ("min",),
    "hour": ("hr", "h"),
    "inch": ("inche",),
    "\u00b0": ("degree",),
    "\u00b0c": ("\u00b0 c",),
    "\u00b0f": ("\u00b0 f",),
    "w": ("watt",),
    "kw": ("kilowatt",),
}
UNIT_SPELLINGS: Final = {
    spelling: unit for unit, spellings in _SPELLED_UNITS.items() for spelling in spellings
}

UNITS: Final = (
    r"percent|per\s?cent|degrees?|euros?|eur|dollars?|usd|pounds?|gbp|cents?|g|mg|kg|grams?"
    r"|grammes?"
    r"|kilos?|kilograms?|tonnes?|tons?|oz|ounces?|lbs?|ml|cl|l|lit(?:er|re)s?|gallons?|pints?|mm|cm"
    r"|m|km|metres?|meters?|(?:centi|milli|kilo)(?:metres?|meters?)|miles?|inch(?:es)?|feet|foot|ft"
    r"|seconds?|secs?|minutes?|mins?|hours?|hrs?|days?|weeks?|months?|years?|decades?|w|kw"
    r"|kwh|watts?"
    r"|kilowatts?|v|volts?|mb|gb|tb|mah|bar|psi|calories|kcal|times|people|customers|users|members"
    r"|employees|patients|countries"
)

SUPERLATIVE: Final = re.compile(
    r"\b(?:(?<!at )(?<!your )(?<!our )(?<!my )(?<!their )(?<!do )the[ \t]+(?:\w+['\u2019]s[ "
    r"\t]+|very[ \t]+)?"
    r"(?:(?:best|worst|largest|biggest|smallest|fastest|quickest|cheapest|lightest|strongest|safest"
    r"|finest|greatest|highest|lowest|oldest|longest|purest|softest|toughest|smartest"
    r"|easiest|healthiest"
    r"|cleanest|newest|richest|tastiest|freshest)(?![ \t]+(?:way|time|thing|part)\b)"
    r"|most[ \t]+(?!of\b|part\b|recent\b)\w{4,}|only[ \t]+(?!way\b|time\b|thing\b)\w+[ "
    r"\t]+(?:that|to|in|with|on)"
    r"|first[ \t]+ever|number[ \t]+one|leading|premier)"
    r"|(?:world|market|industry)[- ](?:leading|class|beating|best|first)|unrivall?ed"
    r"|unmatched|unbeatable"
    r"|second[ \t]+to[ \t]+none|no\.?[ \t]?1\b|award[- ]winning|best[- ](?:selling|in[- "
    r"]class|known|ever)"
    r"|(?:number|#)[ \t]?1\b|better[ \t]+than[ \t]+any(?:thing|one|[ \t]other)?|once[- ]in[- "
    r"]a[- ]lifetime)",
    re.IGNORECASE,
)

_CONDITIONS: Final = (
    r"(?:(?:chronic|joint|back|muscle|chest|period)[ \t]+pain|pain|anxiety|cancer|diabetes"
    r"|blood[ \t]+"
    r"(?:pressure|sugar)|infections?|inflammation|insomnia|arthritis|depression|disease|headaches?"
    r"|migraines?|cholesterol|asthma|eczema|acne|allerg(?:y|ies)|colds?|flu|fever|stress"
    r"|nausea|fatigue"
    r"|hangovers?|dementia|immun(?:e|ity)(?:[ \t]+system)?|metabolism|wounds?|symptoms?"
    r"|heart[ \t]+(?:attacks?"
    r"|disease)|strokes?|illness(?:es)?|digestion|ageing|aging|wrinkles|toxins)"
)
MEDICAL: Final = re.compile(
    r"\b(?:(?:cures?|cured|curing|treats?|treated|treating|heals?|healed|healing|prevents?"
    r"|prevented"
    r"|preventing|relieves?|relieved|relieving|eases?|easing|soothes?|soothing|reduces?"
    r"|reducing|lowers?"
    r"|lowering|boosts?|boosting|fights?|fighting|strengthens?|strengthening|eliminates?"
    r"|flush(?:es)?"
    r"|reverses?|speeds?[ \t]+up)[ \t]+(?:\w+[ \t]+){0,3}?" + _CONDITIONS + r"|clinically[ \t]+"
    r"(?:proven|tested|shown)|medically[ \t]+(?:proven|approved)|(?:doctor|dermatologist"
    r"|physician|vet)"
    r"(?:s|-|[ \t])+(?:recommend\w*|approved|tested)|(?:no|without)[ \t]+side[ \t]+effects"
    r"|detox(?:es|ifies)?"
    r"|good[ \t]+for[ \t]+(?:your|the)[ \t]+(?:heart|skin|gut|brain|liver|joints|bones"
    r"|immune[ \t]+system)"
    r"|safe[ \t]+(?:for|in|during)[ \t]+pregnan\w+|weight[ \t]+loss|lose[ \t]+weight"
    r"|antibacterial|kills[ \t]+"
    r"(?:\w+[ \t]+){0,2}?(?:bacteria|germs|viruses))\b",
    re.IGNORECASE,
)
LEGAL: Final = re.compile(
    r"\b(?:guarantee[sd]?|guaranteed|warrant(?:y|ies|ed)|legally[ \t]+\w+|required[ \t]+by[ "
    r"\t]+law|by[ \t]+law"
    r"|against[ \t]+the[ \t]+law|illegal|unlawful|lawful|compl(?:y|ies|iant)[ \t]+with"
    r"|(?:gdpr|hipaa|iso|ada)"
    r"[- ](?:compliant|certified)|certified[ \t]+(?:by|to|organic|safe)|fda[- ](?:approved|cleared)"
    r"|ce[- ]marked|patented|you[ \t]+are[ \t]+entitled|(?:fully|legally)[ \t]+insured"
    r"|licensed[ \t]+and[ \t]+insured"
    r"|(?:not|held|be)[ \t]+liable|your[ \t]+rights?[ \t]+to|exempt[ \t]+from)\b",
    re.IGNORECASE,
)
MONEY: Final = re.compile(
    r"\b(?:saves?[ \t]+(?:you[ \t]+)?(?:money|hundreds|thousands|a[ \t]+fortune)|risk[- "
    r"]free|money[- ]back"
    r"|(?:double|triple)s?[ \t]+your|guaranteed[ \t]+(?:returns?|income|profit)|pays?[ "
    r"\t]+for[ \t]+(?:itself"
    r"|themselves)|cheaper[ \t]+than|free[ \t]+of[ \t]+charge|for[ \t]+free|no[ "
    r"\t]+(?:hidden[ \t]+)?(?:fees|costs?"
    r"|charges)|tax[- ](?:free|deductible)|free[ \t]+(?:delivery|shipping|returns|trial)"
    r"|half[ \t]+(?:the[ \t]+)?price"
    r"|lowest[ \t]+prices?|interest[- ]free|increase[sd]?[ \t]+in[ \t]+value|return[ \t]+on[ "
    r"\t]+investment|discounts?"
    r"|refund(?:s|ed|able)?)\b",
    re.IGNORECASE,
)

NAMES_TO_PASS: Final = frozenset(
    [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "i",
        "i'm",
        "i've",
        "i'd",
        "i'll",
        "the",
        "a",
        "an",
        "this",
        "that",
        "these",
        "those",
        "it",
        "in",
        "on",
        "at",
        "of",
        "and",
        "or",
        "but",
        "if",
        "when",
        "while",
        "for",
        "to",
        "from",
        "by",
        "with",
        "as",
        "no",
        "yes",
        "we",
        "you",
        "he",
        "she",
        "they",
        "our",
        "your",
        "my",
        "his",
        "her",
        "its",
        "their",
        "there",
        "here",
        "what",
        "why",
        "how",
        "who",
        "where",
        "which",
        "then",
        "so",
        "use",
        "take",
        "put",
        "keep",
        "make",
        "let",
        "give",
        "ask",
        "see",
        "try",
        "do",
        "don't",
        "is",
        "are",
        "was",
        "were",
        "be",
        "has",
        "have",
        "had",
        "not",
        "all",
        "each",
        "every",
        "some",
        "any",
        "most",
        "more",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "after",
        "before",
        "because",
        "although",
        "once",
        "christmas",
        "easter",
        "english",
        "internet",
        "mr",
        "mrs",
        "ms",
        "dr",
        "step",
        "tip",
        "tips",
        "note",
    ]
)
"""Words with a capital that name nobody: days, months, sentence openers."""
