// Package jwtauth judges the tokens of issuers: signed by a key that the issuer's
// discovery document leads to, for this broker, in time, and of whom the
// configuration says what they may.
package jwtauth
