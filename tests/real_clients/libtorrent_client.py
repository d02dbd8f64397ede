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


def told(kind):
    """Prints what has happened since, and says whether that was among it."""
    alerts = session.pop_alerts()
    for alert in alerts:
        print(alert.message(), flush=True)
    return any(isinstance(alert, kind) for alert in alerts)


while not stopped:
    told(lt.tracker_reply_alert)
    time.sleep(0.1)
# Announces that it has stopped.
handle.pause()
deadline = time.monotonic() + 10
while time.monotonic() < deadline and not told(lt.tracker_reply_alert):
    time.sleep(0.1)
