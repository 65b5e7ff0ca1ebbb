"""The colours of every picture, told apart with any colour vision."""

# Okabe and Ito.
NOW, BEFORE = "#0072B2", "#999999"
COLOURS = [NOW, "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", BEFORE]
# What a session does, each in its colour; waiting in warm ones.
DOING = {
    "joining": "#F0E442",
    "playing": "#009E73",
    "buffering": "#D55E00",
    "stalled": "#E69F00",
    "paused": "#BBBBBB",
    "idle": "#DDDDDD",
    "ad": "#0072B2",
    "ad_paused": "#9DB8CC",
    "ad_buffering": "#CC79A7",
    "ad_outside": "#56B4E9",
    "unknown": "#FFFFFF",
}
