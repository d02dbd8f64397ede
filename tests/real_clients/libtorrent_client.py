#!/usr/bin/python3
"""Seeds or downloads one torrent until SIGTERM: libtorrent_client.py TORRENT DIRECTORY LISTEN"""

import signal
import sys
import time

import libtorrent as lt

torrent, directory, listen = sys.argv[1:]
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
session = lt.session({
    "alert_mask": lt.alert.category_t.all_categories,
    "enable_dht": False,
    "enable_lsd": False,
    "enable_natpmp": False,
    "enable_upnp": False,
    "listen_interfaces": listen,
    "min_announce_interval": 2,
})
handle = session.add_torrent({"ti": lt.torrent_info(torrent), "save_path": directory})


def alerts():
    """Prints what has happened since, and returns it."""
    happened = session.pop_alerts()
    for alert in happened:
        print(alert.message(), flush=True)
    return happened


while not stopped:
    alerts()
    time.sleep(0.1)
# Announces that it has stopped. A reply to an earlier announce may still come first, so it stays a little longer than the
# first reply after that announce. An auto-managed torrent would be resumed meanwhile.
handle.unset_flags(lt.torrent_flags.auto_managed)
handle.pause()
announced = False
deadline = time.monotonic() + 20
while time.monotonic() < deadline:
    for alert in alerts():
        announced = announced or isinstance(alert, lt.tracker_announce_alert) and "(stopped)" in alert.message()
        if announced and isinstance(alert, lt.tracker_reply_alert):
            deadline = min(deadline, time.monotonic() + 1)
    time.sleep(0.1)
