// Package httpauth puts credentials on HTTP requests: a key in a header or in
// the query, a user name and password, or a token by client credentials.
//
// Secrets are read anew for every request, so that a rotated one is used
// without a restart, and an [Authenticator] can show a request without reading
// them and take them out of text that came back. Ways to log on that need a
// conversation or a certificate fit behind [Authenticator.Wrap].
package httpauth
