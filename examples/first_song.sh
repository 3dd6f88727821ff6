#!/bin/sh
# The first song over plain HTTP, with curl and python3 (to read JSON).
#   DAYSONG_URL=http://127.0.0.1:8000 DAYSONG_TOKEN=… examples/first_song.sh "I walked home in the rain"
set -eu
entry=${1:-I walked home in the rain}

call() { # kind, function, arguments as JSON: prints the value, or the error and ends
    curl -sS --fail-with-body "$DAYSONG_URL/api/$1" \
        -H "Authorization: Bearer $DAYSONG_TOKEN" -H "Content-Type: application/json" \
        -d "{\"path\": \"$2\", \"args\": $3}" |
        python3 -c 'import json, sys
answer = json.load(sys.stdin)
if answer["status"] != "success":
    sys.exit(answer.get("errorData", {}).get("message") or answer["errorMessage"])
print(json.dumps(answer["value"]))'
}

arguments=$(python3 -c 'import json, sys; print(json.dumps({"content": sys.argv[1]}))' "$entry")
call action music:startDiaryMusicGeneration "$arguments" >/dev/null

# Without live queries an app asks again. The song is in the list from the start: pending, then ready or failed.
while :; do
    song=$(call query music:listPlaylistMusic '{}' | python3 -c 'import json, sys; print(json.dumps(json.load(sys.stdin)[0]))')
    case $song in
    *'"status": "ready"'*) break ;;
    *'"status": "failed"'*) echo "the song failed: $song" >&2 && exit 1 ;;
    esac
    sleep 1
done
printf '%s' "$song" | python3 -c 'import json, sys; song = json.load(sys.stdin); print(song["title"], song["audioUrl"])'
