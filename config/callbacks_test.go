package config

import "testing"

func TestWhatCallbacksMayAllow(t *testing.T) {
	for entry, good := range map[string]bool{
		"hooks.corp.example": true, "localhost": true, "h:8443": true, "10.0.0.1": true, "10.0.0.1:8443": true, "10.0.0.0/8": true, "10.0.0.0/8:443": true,
		"::1": true, "[::1]:8443": true, "fd00::/8": true, "xn--bcher-kva.example": true,
		"": false, "*": false, "*.corp.example": false, "https://h": false, "h/path": false, "h:": false, "h:0": false, "h:65536": false, "10.20.30": false, "10.0.0.0/33": false, "a b": false, "-h": false,
	} {
		if allowable(entry) != good {
			t.Errorf("%q: %v", entry, !good)
		}
	}
}
