// Runs oauth2-mock-server of the folder that is named, on a free port. The scopes
// that a client asks for choose its ways: fail-once (the first answer of a client
// is 503), two-seconds (tokens live so long), ferry (for the audience and with the
// role of the broker's tests), other-audience, expired, rotate (later tokens are
// signed with a new key by turns).
import { pathToFileURL } from 'node:url';
import { join } from 'node:path';

const folder = process.argv[2];
const { OAuth2Server } = await import(pathToFileURL(join(folder, 'node_modules/oauth2-mock-server/dist/index.mjs')));

const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
const failed = new Set();
const scopes = (req) => (req.body?.scope ?? '').split(' ');

server.service.on('beforeTokenSigning', (token, req) => {
  token.payload.jti = crypto.randomUUID();
  if (scopes(req).includes('two-seconds')) token.payload.exp = token.payload.iat + 2;
  if (scopes(req).includes('ferry')) Object.assign(token.payload, { sub: 'app-1', aud: 'api://ferry', roles: ['Ferry.Send'] });
  if (scopes(req).includes('other-audience')) token.payload.aud = 'api://other';
  if (scopes(req).includes('expired')) token.payload.exp = token.payload.iat - 600;
});
server.service.on('beforeResponse', (response, req) => {
  if (scopes(req).includes('rotate')) server.issuer.keys.generate('RS256');
  if (scopes(req).includes('two-seconds')) response.body.expires_in = 2;
  const client = req.headers.authorization ?? req.body.client_id;
  if (scopes(req).includes('fail-once') && !failed.has(client)) {
    failed.add(client);
    response.statusCode = 503;
    response.body = { error: 'temporarily_unavailable' };
  }
});
await server.start(0, '127.0.0.1');
console.log(`listens on http://127.0.0.1:${server.address().port}`);
process.stdin.on('end', () => process.exit(0)).resume();
