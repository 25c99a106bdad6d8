package api

import (
	"net/http"
	"time"

	"ferry"
)

// Server makes the HTTP server for the surface, with limits against callers that
// are slow or send without end. The handler may extend the times for a large
// body that keeps coming.
func Server(addr string, handler http.Handler) *http.Server {
	// HTTP/1.1 alone, with TLS too: every bound here is one of connections, each with
	// one request at a time. Whoever wants HTTP/2 towards callers has a proxy for it.
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	server := &http.Server{
		Protocols:                    protocols,
		DisableGeneralOptionsHandler: true, // OPTIONS * is answered like any other path

		Addr:    addr,
		Handler: handler,
		// Above the limit of the surface, which answers a breach with its code;
		// beyond this the server itself answers a bare 431.
		MaxHeaderBytes:    2 * ferry.MaxHeaderBytes,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      2 * time.Minute,
		IdleTimeout:       2 * time.Minute, // longer than the usual 60 s of a proxy before it
	}
	if waits, ok := handler.(interface{ Drain() }); ok {
		server.RegisterOnShutdown(waits.Drain)
	}
	return server
}
