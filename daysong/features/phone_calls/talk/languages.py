"""The languages of calls: BCP 47 tags, names, and transcribers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# English names, for the prompt.
NAMES: Mapping[str, str] = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek",
    "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French",
    "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian", "ms": "Malay", "nl": "Dutch",
    "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak",
    "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "yi": "Yiddish", "zh": "Chinese",
}  # fmt: skip

# Deepgram's nova-3 has no Chinese and no Thai; its nova-2 has.
_NOVA_3 = frozenset({
    "bg", "ca", "cs", "da", "de", "el", "en", "es", "et", "fi", "fr", "hi", "hu", "id", "it", "ja", "ko", "lt", "lv",
    "ms", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sv", "tr", "uk", "vi",
})  # fmt: skip
_NOVA_2 = frozenset({"th", "zh"})
_NOVA_2_TAGS = {"zh-tw": "zh-TW", "zh-hant": "zh-Hant", "zh-cn": "zh-CN", "zh-hans": "zh-Hans"}
_GLADIA = frozenset({
    "af", "am", "ar", "as", "az", "ba", "be", "bn", "bo", "br", "bs", "cy", "eu", "fa", "fo", "gl", "gu", "ha", "haw",
    "he", "hr", "ht", "hy", "is", "jv", "ka", "kk", "km", "kn", "la", "lb", "ln", "lo", "mg", "mi", "mk", "ml", "mn",
    "mr", "mt", "my", "ne", "oc", "pa", "ps", "sa", "sd", "si", "sl", "sn", "so", "sq", "sr", "su", "sw", "ta", "te",
    "tg", "tk", "tl", "tt", "ur", "uz", "yi", "yo",
})  # fmt: skip
# Azure requires a region.
_AZURE: Mapping[str, str] = {"ga": "ga-IE", "wuu": "wuu-CN", "yue": "yue-CN", "zu": "zu-ZA"}

# Withdrawn codes that old phones send, and codes with another name at the vendors.
_CURRENT: Mapping[str, str] = {
    "in": "id", "iw": "he", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no", "nn": "no", "cmn": "zh", "fil": "tl",
}  # fmt: skip
_TAG = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9]{1,8})*")


def hyphenated(tag: str) -> str:
    """Return a tag with hyphens; some platforms write `en_US`."""
    return tag.replace("_", "-")


def main_language(tag: str) -> str:
    """Return the current code of a tag's language; English when it is no BCP 47 tag."""
    found = _TAG.fullmatch(hyphenated(tag))
    code = found[1].lower() if found else "en"
    return _CURRENT.get(code, code)


def transcriber_for(tag: str) -> dict[str, Any]:
    """Return VAPI's transcriber for a language; a multilingual one when no transcriber supports it."""
    code = main_language(tag)
    if code in _NOVA_2:
        narrowed = "-".join(hyphenated(tag).lower().split("-")[1:2])
        return {"provider": "deepgram", "model": "nova-2", "language": _NOVA_2_TAGS.get(f"{code}-{narrowed}", code)}
    if code in _GLADIA:
        return {"provider": "gladia", "model": "solaria-1", "languageBehaviour": "manual", "language": code}
    if code in _AZURE:
        return {"provider": "azure", "language": _AZURE[code]}
    return {"provider": "deepgram", "model": "nova-3", "language": code if code in _NOVA_3 else "multi"}
