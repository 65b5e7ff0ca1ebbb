"""What a User-Agent says of the device: its kind, the operating system, the browser, and whether it is a bot.

All four come from closed lists. A User-Agent may hold anything, a name or an address too, so no part of it is ever
passed on: a family that is not on a list is `other`. The rules for families and bots are those of uap-core, which
ua-parser has as a package; they are matched in time linear in the text. What kind of device it is they do not say,
so that is decided here.
"""

import re
from functools import lru_cache
from typing import Final, Literal

from ua_parser import Domain
from ua_parser.loaders import load_lazy_builtins
from ua_parser.regex import Resolver

from schemas.client import UNKNOWN_CLIENT, Client

DeviceType = Literal["phone", "tablet", "tv", "console", "desktop", "other"]

READ_BYTES_MAX: Final = 512  # longer ones are read as far as this
KNOWN_MAX: Final = 4_096
OTHER: Final = "other"
# The first that matches counts. A tablet's browser leaves out "Mobile", which apps leave out on any device.
_DEVICES: Final[tuple[tuple[DeviceType, re.Pattern[str]], ...]] = (
    ("console", re.compile(r"playstation|xbox|nintendo")),
    (
        "tv",
        re.compile(
            r"smart-?tv|hbbtv|\btv\b|(?:apple|android|google|fire) ?tv|tvos|\baft[a-z0-9]{1,8}\b|viera|vizio"
            r"|tizen (?!.*mobile)|web0s|webos\.tv|netcast|nettv|crkey|chromecast|roku|vidaa|bravia|\bstb\b"
        ),
    ),
    ("other", re.compile(r"watch|oculus|\bquest\b|\bvr\b|\baeo[a-z]{2}\b")),
    ("tablet", re.compile(r"ipad|tablet|kindle|\bkf[a-z]{2,6}\b|\bsm-[tx]\d|^mozilla/(?=.*android)(?!.*mobile)")),
    ("phone", re.compile(r"iphone|ipod|android|windows phone|harmony|kaios|mobile")),
    ("desktop", re.compile(r"windows nt|macintosh|mac os x|x11|cros |linux x86_64")),
)
SYSTEMS: Final = (
    *("Windows Phone", "Windows", "Android", "iOS", "tvOS", "watchOS", "macOS", "Chrome OS", "Linux", "Tizen"),
    *("webOS", "Roku", "Chromecast", "Fire OS", "VIDAA", "PlayStation", "Xbox", "Nintendo", "HarmonyOS", "KaiOS"),
)
_SYSTEMS_RENAMED: Final = {
    "Mac OS X": "macOS",
    "ATV OS X": "tvOS",
    "Web0S": "webOS",
    "WatchOS": "watchOS",
    "Ubuntu": "Linux",
    "Debian": "Linux",
    "Fedora": "Linux",
}
# Systems that call themselves another one.
_SYSTEMS_IN: Final = (
    ("PlayStation", re.compile("playstation")),
    ("Xbox", re.compile("xbox")),
    ("Nintendo", re.compile("nintendo")),
    ("Roku", re.compile("roku")),
    ("VIDAA", re.compile("vidaa")),
    ("Fire OS", re.compile(r"\b(?:aft[a-z0-9]{1,8}|kf[a-z]{2,6}|aeo[a-z]{2})\b|fire ?tv")),
)
BROWSERS: Final = (
    *("Chrome", "Safari", "Firefox", "Edge", "Opera", "Samsung Internet", "Amazon Silk", "Brave", "Vivaldi", "IE"),
    *("DuckDuckGo", "UC Browser", "Yandex Browser", "QQ Browser", "MiuiBrowser", "Huawei Browser", "Whale"),
    *("Oculus Browser", "Tizen Browser", "webOS Browser", "NetFront", "HbbTV", "Roku", "WebView"),
    *("Facebook", "Instagram", "TikTok", "Snapchat", "Twitter", "LINE", "KakaoTalk", "WeChat Browser"),
)
_BROWSERS_RENAMED: Final = {
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "WebView",
    "Chrome Mobile WebView": "WebView",
    "Headless Chrome": "Chrome",
    "HeadlessChrome": "Chrome",
    "Chromium": "Chrome",
}
# Scripts, which uap-core has as browsers. Players' libraries (okhttp, CFNetwork) are none.
_SCRIPT: Final = re.compile(r"headless|phantomjs|^(?:curl|wget|python|go-http-client|scrapy|k6|java)\b")


class UserAgents:
    """Reads User-Agents. The rules take 0.2 s to load, and 26 MB."""

    def __init__(self) -> None:
        self._resolve = Resolver(load_lazy_builtins())
        self._known = lru_cache(maxsize=KNOWN_MAX)(self._read)

    def read(self, header: bytes) -> Client:
        """Return what a User-Agent says of the device; nothing of its place."""
        return self._known(header[:READ_BYTES_MAX])

    @property
    def known(self) -> int:
        """How many User-Agents need not be read again."""
        return self._known.cache_info().currsize

    def _read(self, header: bytes) -> Client:
        text = header.decode("latin-1").strip()
        if not text:
            return UNKNOWN_CLIENT
        found = self._resolve(text, Domain.ALL)
        lowered = text.lower()
        os = found.os.family if found.os else None
        browser = found.user_agent.family if found.user_agent else None
        system = next((name for name, pattern in _SYSTEMS_IN if pattern.search(lowered)), None)
        return Client(
            device_type=next((kind for kind, pattern in _DEVICES if pattern.search(lowered)), "other"),
            os=system or _on_list(os, _SYSTEMS_RENAMED, SYSTEMS),
            browser=_on_list(browser, _BROWSERS_RENAMED, BROWSERS),
            is_bot=(found.device is not None and found.device.family == "Spider")
            or _SCRIPT.search(lowered) is not None,
        )


def _on_list(family: str | None, renamed: dict[str, str], names: tuple[str, ...]) -> str:
    """Return the name on the list that a family is, or is a variant of: `Chrome Mobile iOS` is Chrome."""
    if family is None:
        return OTHER
    family = renamed.get(family, family)
    return next((name for name in names if family == name or family.startswith(name + " ")), OTHER)
