package sbemu

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// sasToken is a shared access signature, taken apart.
type sasToken struct {
	resource string // decoded
	raw      string // as it stands in the token: that is what was signed
	sig      []byte
	expiry   string
	expires  time.Time
	policy   string
}

var errToken = errors.New("no well-formed shared access signature")

func parseSAS(token string) (sasToken, error) {
	rest, ok := strings.CutPrefix(token, "SharedAccessSignature ")
	if !ok || len(token) > 4096 {
		return sasToken{}, errToken
	}
	var t sasToken
	var sig string
	for part := range strings.SplitSeq(rest, "&") {
		name, value, _ := strings.Cut(part, "=")
		switch name {
		case "sr":
			t.raw = value
		case "sig":
			sig = value
		case "se":
			t.expiry = value
		case "skn":
			t.policy = value
		}
	}
	var errs [5]error
	var seconds int64
	t.resource, errs[0] = url.PathUnescape(t.raw)
	t.policy, errs[1] = url.PathUnescape(t.policy)
	sig, errs[2] = url.PathUnescape(sig) // a plus stays a plus
	t.sig, errs[3] = base64.StdEncoding.DecodeString(sig)
	seconds, errs[4] = strconv.ParseInt(t.expiry, 10, 64)
	if errors.Join(errs[:]...) != nil || t.raw == "" || t.policy == "" || len(t.sig) == 0 {
		return sasToken{}, errToken
	}
	t.expires = time.Unix(seconds, 0)
	return t, nil
}

func (t sasToken) signedBy(key string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(t.raw + "\n" + t.expiry))
	return hmac.Equal(mac.Sum(nil), t.sig)
}
