package natsqueue

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ferry"
)

// webServer answers /queue as a broker's HTTP server does, with a certificate that
// nobody knows.
type webServer struct {
	*httptest.Server
	url string // of the queue
	ca  string // PEM file of the certificate
}

func serveWeb(tb testing.TB, s *Server) *webServer {
	tb.Helper()
	w := &webServer{Server: httptest.NewTLSServer(webHandler(s))}
	tb.Cleanup(w.Close)
	w.url = "wss" + strings.TrimPrefix(w.URL, "https") + "/queue"
	w.ca = filepath.Join(tb.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.Certificate().Raw})
	if err := os.WriteFile(w.ca, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return w
}

// servePlainWeb is serveWeb without TLS, where there are very many connections.
func servePlainWeb(tb testing.TB, s *Server) *webServer {
	tb.Helper()
	w := &webServer{Server: httptest.NewServer(webHandler(s))}
	tb.Cleanup(w.Close)
	w.url = "ws" + strings.TrimPrefix(w.URL, "http") + "/queue"
	return w
}

func webHandler(s *Server) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/queue" {
			refuseWeb(w, ferry.Errorf(ferry.CodeNotFound, "there is nothing at this path"), http.StatusNotFound)
			return
		}
		if err := s.ServeQueue(w, r); err != nil {
			refuseWeb(w, err, http.StatusTooManyRequests)
		}
	})
}

func refuseWeb(w http.ResponseWriter, err error, status int) {
	e, _ := errors.AsType[*ferry.Error](err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"code": string(e.Code), "detail": e.Message, "hint": e.Hint})
}
