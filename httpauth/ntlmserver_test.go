package httpauth_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // NTLM is made of it
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"

	//lint:ignore SA1019 NTLM is made of it
	"golang.org/x/crypto/md4" //nolint:staticcheck // NTLM is made of it
)

// ntlmServer is a destination that takes NTLM version 2 (MS-NLMP), as IIS does:
// the logon belongs to the connection. It counts what it sees.
type ntlmServer struct {
	user, domain string

	mu       sync.Mutex
	password string
	scheme   string // that it offers; default NTLM
	eachTime bool   // a logon is good for one request
	open     bool   // no logon is wanted
	noHead   bool   // HEAD is answered with 405, before any logon
	answers  int    // HEAD is answered with that status; 0: as is usual
	closes   bool   // the connection is closed after the first step
	hangs    chan struct{}
	conns    map[net.Conn]*ntlmConn
	requests []string // method, what of a logon it bore, the bytes of its body
	proofs   int      // logons that were tried
	srv      *httptest.Server
}

type ntlmConn struct {
	challenge []byte
	loggedOn  bool
}

type connKey struct{}

func newNTLMServer(t *testing.T) *ntlmServer {
	t.Helper()
	s := &ntlmServer{user: "svc-ferry", domain: "CORP", password: "right-password", scheme: "NTLM", conns: map[net.Conn]*ntlmConn{}}
	s.srv = httptest.NewUnstartedServer(s)
	s.srv.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }
	s.srv.Start()
	t.Cleanup(s.srv.Close)
	return s
}

// set changes the server's ways.
func (s *ntlmServer) set(change func(*ntlmServer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

func (s *ntlmServer) log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := strings.Join(s.requests, "; ")
	s.requests = nil
	return out
}

func (s *ntlmServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	conn := s.conns[r.Context().Value(connKey{}).(net.Conn)]
	if conn == nil {
		conn = &ntlmConn{}
		s.conns[r.Context().Value(connKey{}).(net.Conn)] = conn
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	message, _ := base64.StdEncoding.DecodeString(token)
	step := "nothing"
	switch {
	case scheme == "":
	case scheme != s.scheme || len(message) < 12:
		step = "other"
	case message[8] == 1:
		step = "hello"
	case message[8] == 3:
		step = "proof"
	}
	s.requests = append(s.requests, strings.Join([]string{r.Method, step, itoa(len(body))}, " "))
	if err != nil {
		return
	}
	if s.noHead && r.Method == http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if s.answers != 0 && r.Method == http.MethodHead {
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(s.answers)
		return
	}
	switch step {
	case "hello":
		conn.loggedOn, conn.challenge = false, []byte("challeng")
		w.Header().Set("Www-Authenticate", s.scheme+" "+base64.StdEncoding.EncodeToString(s.challenge(conn.challenge)))
		if s.closes {
			w.Header().Set("Connection", "close")
		}
		w.WriteHeader(http.StatusUnauthorized)
		return
	case "proof":
		s.proofs++
		conn.loggedOn = conn.challenge != nil && s.proves(conn.challenge, message)
	}
	if !conn.loggedOn && !s.open {
		w.Header().Add("Www-Authenticate", s.scheme)
		w.Header().Add("Www-Authenticate", `Basic realm="erp, main"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if s.eachTime {
		conn.loggedOn = false
	}
	if hangs := s.hangs; hangs != nil {
		s.mu.Unlock()
		<-hangs
		s.mu.Lock()
	}
	if r.Method == http.MethodPost {
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, `{"id":"7"}`)
}

func itoa(n int) string {
	switch {
	case n == 0:
		return "0"
	case n < 1000:
		return "small"
	default:
		return "large"
	}
}

// challenge is the second message: MS-NLMP, 2.2.1.2, with the name of the domain
// as the only information about the target.
func (s *ntlmServer) challenge(nonce []byte) []byte {
	const flags = 1 | 1<<9 | 1<<15 | 1<<19 | 1<<23 | 1<<29 // Unicode, NTLM, sign, extended session security, target information, 128 bit
	info := append([]byte{2, 0, byte(2 * len(s.domain)), 0}, wide(s.domain)...)
	info = append(info, 0, 0, 0, 0)
	m := make([]byte, 48)
	copy(m, "NTLMSSP\x00")
	m[8] = 2
	binary.LittleEndian.PutUint32(m[16:], 48) // of an empty name
	binary.LittleEndian.PutUint32(m[20:], flags)
	copy(m[24:], nonce)
	binary.LittleEndian.PutUint16(m[40:], uint16(len(info)))
	binary.LittleEndian.PutUint16(m[42:], uint16(len(info)))
	binary.LittleEndian.PutUint32(m[44:], 48)
	return append(m, info...)
}

// proves checks the third message: MS-NLMP, 2.2.1.3 and 3.3.2.
func (s *ntlmServer) proves(nonce, m []byte) bool {
	if len(m) < 64 {
		return false
	}
	field := func(at int) []byte {
		n, offset := int(binary.LittleEndian.Uint16(m[at:])), int(binary.LittleEndian.Uint32(m[at+4:]))
		if offset+n > len(m) {
			return nil
		}
		return m[offset : offset+n]
	}
	answer := field(20)
	if len(answer) < 16 || !bytes.Equal(field(28), wide(s.domain)) || !bytes.Equal(field(36), wide(s.user)) {
		return false
	}
	secret := md4.New()
	_, _ = secret.Write(wide(s.password))
	key := mac(secret.Sum(nil), wide(strings.ToUpper(s.user)+s.domain))
	return hmac.Equal(answer[:16], mac(key, append(bytes.Clone(nonce), answer[16:]...)))
}

func mac(key, data []byte) []byte {
	h := hmac.New(md5.New, key)
	_, _ = h.Write(data)
	return h.Sum(nil)
}

func wide(s string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, u)
	}
	return out
}
