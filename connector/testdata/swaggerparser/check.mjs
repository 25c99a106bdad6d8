// node check.mjs FILE… : each has to be valid OpenAPI 2.0, without a circle.
import fs from 'node:fs';
import SwaggerParser from '@apidevtools/swagger-parser';

for (const file of process.argv.slice(2)) {
  const parser = new SwaggerParser();
  const api = await parser.validate(JSON.parse(fs.readFileSync(file, 'utf8')), {resolve: {external: false}});
  if (api.swagger !== '2.0' || parser.$refs.circular) throw new Error(`${file}: ${api.swagger}, circular ${parser.$refs.circular}`);
  console.log(`valid: ${Object.keys(api.paths).length} paths`);
}
