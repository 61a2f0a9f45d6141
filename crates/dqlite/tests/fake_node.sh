#!/bin/sh
# A node process as the supervisor sees it: the control channel without an engine.
# FAKE says how it behaves; FAKE_DIR is where it keeps count of its lives.
say() { printf '%s\n' "$1"; }
hello() { say '{"type":"hello","v":1,"pid":'$$',"version":"fake","control":[1]'"$1"'}'; }
beat() { say '{"type":"beat","at":1}'; }
serve() {
    say '{"type":"engine","path":"/lib/fake.so","version":"1.18.7"}'
    say '{"type":"identity","id":"18446744073709551615","address":"127.0.0.1:1"}'
    say '{"type":"serving","address":"127.0.0.1:1","bind":"127.0.0.1:1","unix":"/x/node.sock"}'
    beat
}
ready() {
    say '{"type":"state","from":"starting","to":"ready","why":""}'
    say '{"type":"leader","id":"18446744073709551615","address":"127.0.0.1:1"}'
    say '{"type":"role","role":"voter"}'
    say '{"type":"ready","ms":1}'
}
# Answers what it is told until the end of its input.
obey() {
    while read -r line; do
        case $line in
        *'"stop"'*)
            say '{"type":"reply","n":0,"ok":null}'
            say '{"type":"bye","handed_over":true,"leader":"127.0.0.1:2","drained":3,"ms":5}'
            exit 0 ;;
        *'"handover"'*)
            n=${line#*'"n":'}
            n=${n%%[,\}]*}
            case $FAKE in
            refuses) say '{"type":"reply","n":'"$n"',"error":{"code":"no_voter","text":"no other voter online"}}' ;;
            dies-asked) kill -KILL $$ ;;
            *) say '{"type":"reply","n":'"$n"',"ok":{"moved":true,"leader":"127.0.0.1:2"}}' ;;
            esac ;;
        esac
    done
    exit 3
}
# The number of this life, from 1.
life() {
    echo x >>"$FAKE_DIR/lives"
    wc -l <"$FAKE_DIR/lives" | tr -d ' '
}

case $FAKE in
never-hello) exec sleep 600 ;;
dies-at-once) echo 'realloc(): invalid next size' >&2; kill -ABRT $$ ;;
old) say '{"type":"hello","v":9,"pid":1,"version":"9.0","control":[8,9]}'; exec sleep 600 ;;
esac

case $FAKE in
notes) exec 7<>"$FAKE_DIR/notes"; hello ',"in_flight":7' ;;
no-notes) hello ',"in_flight":99' ;;
*) hello ;;
esac
read -r config
printf '%s\n' "$config" >"$FAKE_DIR/config"
env >"$FAKE_DIR/env"
echo "the log of $$" >&2

case $FAKE in
no-engine)
    say '{"type":"fatal","stage":"locate","code":"engine_not_found","text":"no engine","tried":[{"place":"/a","reason":"absent"}],"restart":false}'
    exit 11 ;;
port-taken)
    say '{"type":"fatal","stage":"bind","code":"address_in_use","text":"127.0.0.1:1 is taken","restart":false}'
    exit 13 ;;
never-serves) exec sleep 600 ;;
loads)
    say '{"type":"engine","path":"/lib/fake.so","version":"1.18.7"}'
    for _ in 1 2 3 4 5 6; do beat; sleep 0.1; done
    serve; ready; obey ;;
deaf)
    trap '' TERM
    serve; ready
    exec sleep 600 ;;
wedges)
    serve; ready
    if [ "$(life)" = 1 ]; then exec sleep 600; fi
    obey ;;
says-goodbye-unasked)
    serve; ready
    say '{"type":"bye","handed_over":false,"ms":1}'
    exit 0 ;;
crash-loop) serve; ready; echo 'assertion failed' >&2; kill -SEGV $$ ;;
crashes-once)
    serve; ready
    [ "$(life)" = 1 ] && kill -KILL $$
    obey ;;
then-incurable)
    if [ "$(life)" = 1 ]; then serve; ready; kill -KILL $$; fi
    say '{"type":"fatal","stage":"lock","code":"locked","text":"in use by pid 1","restart":false}'
    exit 12 ;;
chatters)
    serve; ready
    say 'no json'
    say '{"type":"levitate"}'
    say '{"type":"state","from":"ready","to":"no-leader","why":"1 of 3","missing":[{"address":"h:2","reason":"connection refused"}]}'
    obey ;;
floods)
    serve; ready
    head -c 3000000 /dev/zero | tr '\0' 'x' >&2
    head -c 2000000 /dev/zero | tr '\0' 'x'
    exec sleep 600 ;;
joins) serve; obey ;;
*) serve; ready; obey ;;
esac
