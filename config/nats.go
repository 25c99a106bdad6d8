package config

import (
	"os"
	"strings"

	"ferry/secret"
)

// External says whether the queue lives on a NATS server elsewhere.
func (n BrokerNATS) External() bool { return n.URL != "" }

// Seed is NKey as a reference.
func (n BrokerNATS) Seed() secret.Ref { return seedRef(n.NKey) }

// check holds the keys of a server in this process against those of one elsewhere.
func (n BrokerNATS) check(d *decoder) {
	const path = "queue.nats"
	d.checkSpan(path+".lock", int64(n.Lock), int64(minLock), int64(maxLock), showDuration)
	d.checkSpan(path+".maxStore", int64(n.MaxStore), minStore, maxStore, showBytes)
	if !n.External() {
		if n.Listen != ListenOff {
			d.checkListen(path+".listen", n.Listen)
		}
		for _, key := range []string{"nkey", "replicas", "ca"} {
			if d.has(path + "." + key) {
				d.at(path+"."+key, "add url: of that server, or take the key out", "%s.%s is for a NATS server elsewhere, and %s.url names none", path, key, path)
			}
		}
		return
	}
	if d.has(path + ".listen") {
		d.at(path+".listen", "take one of the two out: url for a NATS server elsewhere, listen for the one inside the broker",
			"%s.listen and %s.url exclude each other", path, path)
	}
	d.checkNATSURLs(path+".url", n.URL, "nats", "tls")
	if d.has(path + ".ca") {
		d.checkFile(path+".ca", n.CA)
		if !strings.HasPrefix(n.URL, "tls://") {
			d.at(path+".ca", "write tls:// in the url, or take ca out", "%s.ca is for a way with TLS, and %s.url has none", path, path)
		}
	}
	d.checkNKey(path+".nkey", n.NKey, "make it by `broker nats key FILE`, and let it log in at the NATS server")
	if n.Replicas != 1 && n.Replicas != 3 && n.Replicas != 5 {
		d.at(path+".replicas", "1 on a single server; 3 or 5 in a cluster of as many", "%s.replicas must be 1, 3 or 5", path)
	}
}

// checkNATSURLs wants one or more URLs, separated by commas, without credentials.
func (d *decoder) checkNATSURLs(path, list string, schemes ...string) {
	for one := range strings.SplitSeq(list, ",") {
		d.checkURL(path, strings.TrimSpace(one), schemes[0]+"://broker.example:4222", schemes...)
	}
}

// seedPrefix begins the text of a user's nkey seed.
const seedPrefix = "SU"

// seedRef is the reference to a seed that is written as a path, file:PATH or env:NAME.
func seedRef(nkey string) secret.Ref {
	if ref, err := secret.ParseRef(nkey); err == nil {
		return ref
	}
	return secret.Ref("file:" + nkey)
}

// checkNKey wants such a reference; a seed itself is refused.
func (d *decoder) checkNKey(path, nkey, hint string) {
	switch {
	case nkey == "":
		d.at(path, hint, "%s is missing", path)
	case strings.HasPrefix(nkey, seedPrefix) && len(nkey) > 50:
		d.at(path, "write the path of a file that holds it, or env:NAME", "a secret stands in %s literally", path)
	case strings.HasPrefix(nkey, "env:"), strings.HasPrefix(nkey, "@"):
		if _, err := secret.ParseRef(nkey); err != nil {
			message, hint := sentence(err)
			d.at(path, hint, "%s: %s", path, message)
		}
	default:
		file := strings.TrimPrefix(nkey, "file:")
		if info, err := os.Stat(file); err != nil || info.IsDir() {
			d.at(path, hint, "%s: there is no file %s", path, clip(file))
		}
	}
}
