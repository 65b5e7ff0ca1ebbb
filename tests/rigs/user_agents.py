"""User-Agents as players send them, and what each says: device, system, browser, bot."""

CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS_CHROME = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Safari/537.36"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"

USER_AGENTS = {
    WINDOWS_CHROME: ("desktop", "Windows", "Chrome", False),
    f"{WINDOWS_CHROME} Edg/142.0.0.0": ("desktop", "Windows", "Edge", False),
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/18.1 Safari/605.1.15": (
        "desktop",
        "macOS",
        "Safari",
        False,
    ),
    "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0": (
        "desktop",
        "Linux",
        "Firefox",
        False,
    ),
    f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {CHROME} Safari/537.36": ("desktop", "Chrome OS", "Chrome", False),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) {SAFARI} Version/18.1 Mobile/15E148 Safari/604.1": (
        "phone",
        "iOS",
        "Safari",
        False,
    ),
    f"Mozilla/5.0 (iPhone; CPU iPhone OS 17_1 like Mac OS X) {SAFARI} Mobile/15E148 [FBAN/FBIOS;FBAV/440.0]": (
        "phone",
        "iOS",
        "Facebook",
        False,
    ),
    "AppleCoreMedia/1.0.0.20A362 (iPhone; U; CPU OS 16_0 like Mac OS X; en_us)": (
        "phone",
        "iOS",
        "WebView",
        False,
    ),
    f"Mozilla/5.0 (Linux; Android 10; K) {CHROME} Mobile Safari/537.36": ("phone", "Android", "Chrome", False),
    "MyApp/3.1.0 (Linux;Android 14) ExoPlayerLib/2.19.1": ("phone", "Android", "other", False),
    f"Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) {SAFARI} Version/16.6 Mobile/15E148 Safari/604.1": (
        "tablet",
        "iOS",
        "Safari",
        False,
    ),
    f"Mozilla/5.0 (Linux; Android 13; SM-X906C) {CHROME} Safari/537.36": ("tablet", "Android", "Chrome", False),
    "Mozilla/5.0 (Linux; Android 9; KFMAWI) AppleWebKit/537.36 (KHTML, like Gecko) Silk/108.4.6 like "
    "Chrome/108.0.5359.160 Safari/537.36": ("tablet", "Fire OS", "Amazon Silk", False),
    "Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) AppleWebKit/537.36 (KHTML, like Gecko) 76.0.3809.146/6.0 TV "
    "Safari/537.36": ("tv", "Tizen", "Safari", False),
    f"Mozilla/5.0 (Web0S; Linux/SmartTV) {CHROME} Safari/537.36 WebAppManager": ("tv", "webOS", "Chrome", False),
    f"Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2 Build/PTT1.190515.001.S52) {CHROME} Safari/537.36": (
        "tv",
        "Android",
        "Chrome",
        False,
    ),
    "Dalvik/2.1.0 (Linux; U; Android 9; AFTSSS Build/PS7633.3410N)": ("tv", "Fire OS", "other", False),
    f"Mozilla/5.0 (X11; Linux armv7l) {CHROME} Safari/537.36 CrKey/1.56.500000 DeviceType/Chromecast": (
        "tv",
        "Chromecast",
        "Chrome",
        False,
    ),
    "Roku/DVP-12.5 (12.5.0.4178-55)": ("tv", "Roku", "Roku", False),
    "AppleCoreMedia/1.0.0.22K154 (Apple TV; U; CPU OS 18_1 like Mac OS X; en_us)": (
        "tv",
        "tvOS",
        "other",
        False,
    ),
    "AppleTV11,1/11.1": ("tv", "tvOS", "other", False),
    f"Mozilla/5.0 (PlayStation; PlayStation 5/2.26) {SAFARI} Version/13.0 Safari/605.1.15": (
        "console",
        "PlayStation",
        "Safari",
        False,
    ),
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox Series X) {CHROME} Safari/537.36 Edge/20.02": (
        "console",
        "Xbox",
        "Edge",
        False,
    ),
    "okhttp/4.12.0": ("other", "other", "other", False),
    "MyTV/1234 CFNetwork/1490.0.4 Darwin/23.2.0": ("other", "iOS", "other", False),
    "asdf qwer": ("other", "other", "other", False),
    GOOGLEBOT: ("other", "other", "other", True),
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": (
        "other",
        "other",
        "other",
        True,
    ),
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0.0.0 "
    "Safari/537.36": ("desktop", "Linux", "Chrome", True),
    "curl/8.5.0": ("other", "other", "other", True),
    "python-requests/2.31.0": ("other", "other", "other", True),
}
