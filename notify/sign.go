package notify

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"

	"ferry"
)

// The headers of Standard Webhooks. A receiver takes the id for the name of what
// happened: it is the same in every try.
const (
	HeaderID        = "Webhook-Id"
	HeaderTimestamp = "Webhook-Timestamp" // Unix seconds of the try
	HeaderSignature = "Webhook-Signature" // v1,BASE64, one for each secret, spaces between
)

// Tolerance is how far a callback's time may be from the receiver's clock.
const Tolerance = 5 * time.Minute

const secretPrefix = "whsec_"

// ParseSecret reads a secret as it was shown to who verifies: whsec_ and base64.
func ParseSecret(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(text, secretPrefix))
	if err != nil || len(key) == 0 {
		return nil, ferry.Errorf(ferry.CodeInvalid, "this is no secret of webhooks").WithHint("it begins with whsec_, with base64 behind it")
	}
	return key, nil
}

// Sign is one signature over a callback.
func Sign(secret []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(id + "." + strconv.FormatInt(at.Unix(), 10) + "."))
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// sign sets the headers of a callback that is sent at a time.
func sign(h http.Header, secrets [][]byte, id string, at time.Time, body []byte) {
	list := make([]string, len(secrets))
	for i, secret := range secrets {
		list[i] = Sign(secret, id, at, body)
	}
	h.Set(HeaderID, id)
	h.Set(HeaderTimestamp, strconv.FormatInt(at.Unix(), 10))
	h.Set(HeaderSignature, strings.Join(list, " "))
}

// Verify is what a receiver does: it says whether a callback was signed with the
// secret, not longer than Tolerance ago. It reveals nothing about why not.
func Verify(secret []byte, h http.Header, body []byte, now time.Time) bool {
	id, stamp := h.Get(HeaderID), h.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || id == "" || now.Sub(time.Unix(seconds, 0)).Abs() > Tolerance {
		return false
	}
	want := Sign(secret, id, time.Unix(seconds, 0), body)
	good := false
	for signature := range strings.SplitSeq(h.Get(HeaderSignature), " ") {
		good = hmac.Equal([]byte(signature), []byte(want)) || good
	}
	return good
}
