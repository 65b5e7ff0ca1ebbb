#!/bin/sh
# Makes the films of this folder with ffmpeg: a test pattern with a tone, in public domain (CC0 1.0).
# film.webm has 12 s, clip.webm 3 s; film.m3u8 is an HLS stream of 8 s in two qualities. The second segment of
# broken.m3u8, which was written by hand, is missing.
set -e
cd "$(dirname "$0")"
quietly="-y -loglevel error -bitexact"
source() { echo "-f lavfi -i testsrc2=size=$1:rate=15:duration=$2 -f lavfi -i sine=frequency=330:duration=$2"; }
webm="-c:v libvpx-vp9 -b:v 24k -g 15 -deadline good -cpu-used 2 -c:a libopus -b:a 8k"
ffmpeg $quietly $(source 160x90 12) $webm -shortest film.webm
ffmpeg $quietly $(source 160x90 3) $webm -shortest clip.webm
for quality in low:96x54:16k high:160x90:32k; do
  IFS=: read -r name size rate <<END
$quality
END
  ffmpeg $quietly $(source "$size" 8) -c:v libx264 -preset slow -profile:v baseline -b:v "$rate" -g 15 -keyint_min 15 \
    -sc_threshold 0 -c:a aac -ar 22050 -ac 1 -b:a 8k -shortest -f hls -hls_time 2 -hls_playlist_type vod \
    -hls_segment_type fmp4 -hls_flags single_file -hls_segment_filename "$name.mp4" "$name.m3u8"
done
cat > film.m3u8 <<'END'
#EXTM3U
#EXT-X-VERSION:7
#EXT-X-STREAM-INF:BANDWIDTH=40000,RESOLUTION=96x54,CODECS="avc1.42c00a,mp4a.40.2"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=60000,RESOLUTION=160x90,CODECS="avc1.42c00a,mp4a.40.2"
high.m3u8
END
