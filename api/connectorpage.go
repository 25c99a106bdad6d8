package api

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"ferry/connector"
)

// connectorPage is for people with a browser: it asks for a key, and fetches the
// files with it. The key goes into a header, never into an address.
func (c *call) connectorPage() error {
	if c.r.URL.Path != "/connector/" {
		return notHere()
	}
	h := c.w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'; script-src '"+
		hashOf(pageScript)+"'; style-src '"+hashOf(pageStyle)+"'")
	h.Set("Referrer-Policy", "no-referrer")
	c.write(http.StatusOK, []byte(strings.NewReplacer("{{style}}", pageStyle, "{{script}}", pageScript, "{{files}}", pageFiles()).Replace(page)))
	return nil
}

func hashOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

func pageFiles() string {
	var b strings.Builder
	for _, name := range append([]string{connector.ZipFile}, connector.FileNames()...) {
		b.WriteString("<button type=\"submit\" value=\"" + name + "\">" + name + "</button>\n")
	}
	return b.String()
}

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Connector for Power Platform</title>
<style>{{style}}</style>
</head>
<body>
<h1>Connector for Power Platform</h1>
<p>Actions and triggers for Power Automate, Logic Apps and Power Apps, made of the routes that your key may see.
README.md in the zip says how the files become a custom connector.</p>
<form>
<label>Key <input name="key" type="password" autocomplete="off" required></label>
<label>Log on with <select name="auth">
<option value="apiKey">API key</option><option value="oauth">Microsoft Entra ID</option><option value="both">either</option>
</select></label>
<p>
{{files}}</p>
<output role="status"></output>
</form>
<p>The same on a command line: <code>broker connector export --out DIR</code>, or GET this address followed by the
file's name, with the header <code>Authorization: Bearer KEY</code>.</p>
<noscript><p>This page needs JavaScript to send the key; the command line does not.</p></noscript>
<script>{{script}}</script>
</body>
</html>
`

const pageStyle = `
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem; color: #12303c }
h1 { font-size: 1.5rem }
label { display: block; margin: .5rem 0 }
input, select, button { font: inherit; padding: .3rem .6rem }
button { margin: 0 .3rem .3rem 0 }
output { color: #a11 }
`

const pageScript = `
document.querySelector('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const form = event.target, said = form.querySelector('output'), file = event.submitter.value;
  said.textContent = '';
  try {
    const answer = await fetch(file + '?auth=' + form.auth.value, {headers: {Authorization: 'Bearer ' + form.key.value.trim()}});
    if (!answer.ok) {
      const problem = await answer.json();
      said.textContent = problem.detail + (problem.hint ? ' (' + problem.hint + ')' : '');
      return;
    }
    const link = document.createElement('a');
    link.href = URL.createObjectURL(await answer.blob());
    link.download = file;
    link.click();
    URL.revokeObjectURL(link.href);
  } catch (error) {
    said.textContent = 'The broker did not answer: ' + error.message;
  }
});
`
