#!/usr/bin/env node
// Calls every operation of a running Syncline with an unmodified AWS SDK for JavaScript: makes, reads, lists, changes,
// tags, deletes. The steps and the checks are those of boto3_api_walk.py.
//
//   api_walk.cjs --provider-endpoint URL --syncline PROGRAM
//
// The SDK gets the endpoint, the region and the credentials from the environment alone, in its own variables
// (AWS_ENDPOINT_URL_CODESTAR_CONNECTIONS, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). It is that of the test
// environment, $SYNCLINE_TEST_ENV.
"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const { createRequire } = require("node:module");
const { join } = require("node:path");
const { parseArgs } = require("node:util");

const installed = createRequire(join(process.env.SYNCLINE_TEST_ENV, "js", "package.json"));
const sdk = installed("@aws-sdk/client-codestar-connections");

const SYNC_TYPE = "CFN_STACK_SYNC";
const UUID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}";
const NOTHING = "00000000-1111-2222-3333-444444444444";
const PAGE = 2;
const VPC = {
  VpcId: "vpc-0a1b2c3d4e5f60718",
  SubnetIds: ["subnet-0a1b2c3d4e5f60718"],
  SecurityGroupIds: ["sg-0a1b2c3d4e5f60718"],
};

const { values: options } = parseArgs({
  options: { "provider-endpoint": { type: "string" }, syncline: { type: "string" } },
});
const endpoint = options["provider-endpoint"];
const client = new sdk.CodeStarConnectionsClient({});
const called = new Set();
const refusals = new Set();

// Calls one operation, and checks what every answer must have.
async function call(operation, input) {
  called.add(operation);
  const { $metadata: metadata, ...answer } = await client.send(new sdk[`${operation}Command`](input));
  assert.equal(metadata.httpStatusCode, 200, `${operation}: the HTTP status`);
  assert.ok(metadata.requestId, `${operation}: the request id`);
  return answer;
}

// Expects one of the operation's own errors, as an instance of the class that the SDK has for it.
async function refused(code, operation, input) {
  return refusedAs(sdk[code], code, operation, input);
}

// Expects the ValidationException that no operation declares, with this in its text.
async function invalid(operation, text, input) {
  const error = await refusedAs(sdk.CodeStarConnectionsServiceException, "ValidationException", operation, input);
  assert.ok(error.message.includes(text), `${operation}: ${error.message}`);
}

async function refusedAs(known, code, operation, input) {
  let answer;
  try {
    answer = await call(operation, input);
  } catch (error) {
    if (!(error instanceof known)) throw error;
    assert.equal(error.name, code, `${operation}: the error`);
    assert.ok(error.message && error.$metadata.requestId, `${operation}: the error's message and request id`);
    refusals.add(`${code} ${error.$metadata.httpStatusCode}`);
    return error;
  }
  assert.fail(`${operation} answered ${JSON.stringify(answer)} where ${code} is due`);
}

function checkAll(what, answer, expected) {
  for (const [member, value] of Object.entries(expected)) {
    assert.deepEqual(answer[member], value, `${what}.${member}`);
  }
}

function arnOf(resource, region) {
  return new RegExp(`^arn:aws[\\w-]*:codestar-connections:${region}:\\d{12}:${resource}$`);
}

// Lists by the SDK's paginator, PAGE elements a page.
async function checkList(operation, member, key, expected, input = {}) {
  called.add(operation);
  const pages = [];
  // A copy, because the paginator writes its token into what it is given.
  const paginated = sdk[`paginate${operation}`]({ client, pageSize: PAGE }, { ...input });
  for await (const page of paginated) pages.push(page[member]);
  const sizes = [];
  for (let first = 0; first < Math.max(expected.length, 1); first += PAGE) {
    sizes.push(Math.min(PAGE, expected.length - first));
  }
  const listed = pages.flat().map((element) => element[key]);
  assert.deepEqual(listed.sort(), [...expected].sort(), `${operation}: what is listed`);
  assert.deepEqual(pages.map((page) => page.length), sizes, `${operation}: the sizes of the pages`);
}

function tagList(tags) {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}

async function tagsOf(arn) {
  const { Tags } = await call("ListTagsForResource", { ResourceArn: arn });
  return Object.fromEntries(Tags.map(({ Key, Value }) => [Key, Value]));
}

// Five hosts of two kinds, the first two for repositories; answers their ARNs.
async function hosts(region) {
  const arns = [];
  for (let number = 0; number < 5; number += 1) {
    const input = {
      Name: `host-${number}`,
      ProviderType: number < 2 ? "Git" : "GitHubEnterpriseServer",
      ProviderEndpoint: endpoint,
      ...(number === 4 ? { VpcConfiguration: VPC } : {}),
    };
    const Tags = tagList({ team: "web", number: String(number) });
    const made = await call("CreateHost", { ...input, Tags });
    assert.deepEqual(made.Tags, Tags, "the tags of the answer to CreateHost");
    assert.match(made.HostArn, arnOf(`host/host-${number}-[0-9a-f]{8}`, region));
    checkAll("the new host", await call("GetHost", { HostArn: made.HostArn }), { Status: "PENDING", ...input });
    arns.push(made.HostArn);
  }
  await checkList("ListHosts", "Hosts", "HostArn", arns);

  const moved = { ProviderEndpoint: `${endpoint}/moved`, VpcConfiguration: VPC };
  await call("UpdateHost", { HostArn: arns[2], ...moved });
  await call("UpdateHost", { HostArn: arns[2] });
  checkAll("the updated host", await call("GetHost", { HostArn: arns[2] }), { Name: "host-2", ...moved });
  const HostArn = `${arns[0].slice(0, -8)}00000000`;
  for (const operation of ["GetHost", "UpdateHost", "DeleteHost"]) {
    await refused("ResourceNotFoundException", operation, { HostArn });
  }
  await refused("ResourceNotFoundException", "CreateConnection", { ConnectionName: "nowhere", HostArn });
  return arns;
}

// Five connections, the first two on a host; answers their ARNs.
async function connections(region, hostArns) {
  const kinds = [
    { HostArn: hostArns[0] },
    { HostArn: hostArns[0] },
    { ProviderType: "GitHub" },
    { ProviderType: "GitHub" },
    { ProviderType: "Bitbucket" },
  ];
  const arns = [];
  for (const [number, kind] of kinds.entries()) {
    const input = { ConnectionName: `connection-${number}`, ...kind };
    const Tags = tagList({ team: "web" });
    const made = await call("CreateConnection", { ...input, Tags });
    assert.deepEqual(made.Tags, Tags, "the tags of the answer to CreateConnection");
    assert.match(made.ConnectionArn, arnOf(`connection/${UUID}`, region));
    const { Connection } = await call("GetConnection", { ConnectionArn: made.ConnectionArn });
    checkAll("the new connection", Connection, {
      ConnectionArn: made.ConnectionArn,
      ConnectionStatus: "PENDING",
      OwnerAccountId: made.ConnectionArn.split(":")[4],
      ...input,
    });
    arns.push(made.ConnectionArn);
  }
  const listed = ["ListConnections", "Connections", "ConnectionArn"];
  await checkList(...listed, arns);
  await checkList(...listed, arns.slice(2, 4), { ProviderTypeFilter: "GitHub" });
  await checkList(...listed, arns.slice(0, 2), { HostArnFilter: hostArns[0] });
  await checkList(...listed, [], { HostArnFilter: hostArns[1] });

  const taken = { ConnectionName: "connection-2", ProviderType: "GitHub" };
  await invalid("CreateConnection", "connection-2", taken);
  const long = "x".repeat(33);
  const text =
    `1 validation error detected: Value '${long}' at 'connectionName' failed to satisfy constraint: ` +
    "Member must have length less than or equal to 32";
  await invalid("CreateConnection", text, { ConnectionName: long, ProviderType: "GitHub" });
  await refused("ResourceUnavailableException", "DeleteHost", { HostArn: hostArns[0] });
  return arns;
}

// The handshake, which has no AWS operation.
async function authorize(ConnectionArn) {
  execFileSync(options.syncline, ["connection", "authorize", ConnectionArn, "--no-token"], { stdio: "pipe" });
  const { Connection } = await call("GetConnection", { ConnectionArn });
  assert.equal(Connection.ConnectionStatus, "AVAILABLE", "the authorized connection's status");
}

// Three links on the first connection, the first of which moves to the second.
async function links(region, connectionArns) {
  const input = { OwnerId: "acme", ConnectionArn: connectionArns[0] };
  const pending = { OwnerId: "acme", ConnectionArn: connectionArns[2], RepositoryName: "none" };
  await refused("InvalidInputException", "CreateRepositoryLink", pending);
  const made = [];
  for (let number = 0; number < 3; number += 1) {
    const asked = { RepositoryName: `repository-${number}`, ...input };
    const Tags = tagList({ team: "web" });
    const { RepositoryLinkInfo: link } = await call("CreateRepositoryLink", { ...asked, Tags });
    assert.match(link.RepositoryLinkId, new RegExp(`^${UUID}$`));
    assert.match(link.RepositoryLinkArn, arnOf(`repository-link/${link.RepositoryLinkId}`, region));
    checkAll("the new repository link", link, { ProviderType: "Git", ...asked });
    const got = await call("GetRepositoryLink", { RepositoryLinkId: link.RepositoryLinkId });
    assert.deepEqual(got.RepositoryLinkInfo, link, "GetRepositoryLink");
    made.push(link);
  }
  const ids = made.map((link) => link.RepositoryLinkId);
  await checkList("ListRepositoryLinks", "RepositoryLinks", "RepositoryLinkId", ids);
  const again = { RepositoryName: "repository-1", ...input };
  await refused("ResourceAlreadyExistsException", "CreateRepositoryLink", again);

  const RepositoryLinkId = ids[0];
  const change = {
    ConnectionArn: connectionArns[1],
    EncryptionKeyArn: `arn:aws:kms:${region}:${connectionArns[0].split(":")[4]}:key/${NOTHING}`,
  };
  const { RepositoryLinkInfo: moved } = await call("UpdateRepositoryLink", { RepositoryLinkId, ...change });
  checkAll("the moved link", moved, { RepositoryLinkId, ...change });
  const got = await call("GetRepositoryLink", { RepositoryLinkId });
  assert.deepEqual(got.RepositoryLinkInfo, moved, "the moved link");
  const elsewhere = { RepositoryLinkId, ConnectionArn: connectionArns[2] };
  await refused("InvalidInputException", "UpdateRepositoryLink", elsewhere);
  for (const operation of ["GetRepositoryLink", "UpdateRepositoryLink", "DeleteRepositoryLink"]) {
    await refused("ResourceNotFoundException", operation, { RepositoryLinkId: NOTHING });
  }
  return made;
}

// Three sync configurations of a link; answers their names.
async function syncs(link) {
  const RoleArn = `arn:aws:iam::${link.ConnectionArn.split(":")[4]}:role/sync`;
  const ofLink = { RepositoryLinkId: link.RepositoryLinkId, SyncType: SYNC_TYPE };
  const names = ["stack-0", "stack-1", "stack-2"];
  for (const ResourceName of names) {
    const input = { Branch: "main", ConfigFile: `deploy/${ResourceName}.yaml`, ResourceName, RoleArn, ...ofLink };
    const { SyncConfiguration: made } = await call("CreateSyncConfiguration", input);
    const repository = { OwnerId: "acme", ProviderType: "Git", RepositoryName: "repository-0" };
    checkAll("the new sync configuration", made, { ...repository, ...input });
    const got = await call("GetSyncConfiguration", { SyncType: SYNC_TYPE, ResourceName });
    assert.deepEqual(got.SyncConfiguration, made, "GetSyncConfiguration");
  }
  await checkList("ListSyncConfigurations", "SyncConfigurations", "ResourceName", names, ofLink);
  const defined = await call("ListRepositorySyncDefinitions", ofLink);
  const targets = defined.RepositorySyncDefinitions.map((definition) => definition.Target);
  assert.deepEqual(targets.sort(), names, "the sync definitions");
  const again = { Branch: "main", ConfigFile: "a.yaml", ResourceName: names[0], RoleArn, ...ofLink };
  await refused("ResourceAlreadyExistsException", "CreateSyncConfiguration", again);

  const key = { SyncType: SYNC_TYPE, ResourceName: names[0] };
  const changes = {
    Branch: "release",
    ConfigFile: "deploy/other.yaml",
    TriggerResourceUpdateOn: "FILE_CHANGE",
    PublishDeploymentStatus: "ENABLED",
  };
  const { SyncConfiguration: updated } = await call("UpdateSyncConfiguration", { ...key, ...changes });
  checkAll("the updated sync configuration", updated, { ...ofLink, RoleArn, ...key, ...changes });
  const got = await call("GetSyncConfiguration", key);
  assert.deepEqual(got.SyncConfiguration, updated, "the updated sync configuration");

  // There is no repository, and nobody follows that branch: there is nothing to tell.
  const gone = "ResourceNotFoundException";
  await refused(gone, "GetResourceSyncStatus", key);
  await refused(gone, "GetRepositorySyncStatus", { Branch: "unfollowed", ...ofLink });
  const { SyncBlockerSummary: summary } = await call("GetSyncBlockerSummary", key);
  assert.equal(summary.ResourceName, names[0], "the blocker summary's ResourceName");
  const blocker = { Id: NOTHING, ResolvedReason: "mended", ...key };
  await refused("SyncBlockerDoesNotExistException", "UpdateSyncBlocker", blocker);
  for (const operation of ["GetSyncConfiguration", "UpdateSyncConfiguration"]) {
    await refused(gone, operation, { SyncType: SYNC_TYPE, ResourceName: "stack-9" });
  }
  return names;
}

// The tags of one resource, made with `team`: merged, replaced, removed.
async function tagging(ResourceArn) {
  const before = await tagsOf(ResourceArn);
  assert.equal(before.team, "web", "the tags that the resource was made with");
  await call("TagResource", { ResourceArn, Tags: tagList({ team: "api", cost: "" }) });
  assert.deepEqual(await tagsOf(ResourceArn), { ...before, team: "api", cost: "" }, "the merged tags");
  const others = Object.keys(before).filter((key) => key !== "team");
  await call("UntagResource", { ResourceArn, TagKeys: ["cost", "never-set", ...others] });
  assert.deepEqual(await tagsOf(ResourceArn), { team: "api" }, "the tags that are left");
  await invalid("TagResource", "aws:", { ResourceArn, Tags: tagList({ "aws:team": "web" }) });
}

// As many tags as a resource may have, and one more; clients take their time to believe that, and ask again.
async function fill(ResourceArn) {
  const many = Object.fromEntries(Array.from({ length: 199 }, (_, number) => [`key-${number}`, "value"]));
  await call("TagResource", { ResourceArn, Tags: tagList(many) });
  await refused("LimitExceededException", "TagResource", { ResourceArn, Tags: tagList({ more: "one" }) });
  assert.deepEqual(await tagsOf(ResourceArn), { team: "api", ...many }, "the tags at the quota");
  await call("UntagResource", { ResourceArn, TagKeys: Object.keys(many) });
  assert.deepEqual(await tagsOf(ResourceArn), { team: "api" }, "the tags that are left");
}

async function untaggable(ResourceArn) {
  const gone = "ResourceNotFoundException";
  await refused(gone, "ListTagsForResource", { ResourceArn });
  await refused(gone, "TagResource", { ResourceArn, Tags: tagList({ team: "web" }) });
  await refused(gone, "UntagResource", { ResourceArn, TagKeys: ["team"] });
}

async function deleteAll(hostArns, connectionArns, madeLinks, names) {
  const gone = "ResourceNotFoundException";
  const { RepositoryLinkId } = madeLinks[0];
  await refused("SyncConfigurationStillExistsException", "DeleteRepositoryLink", { RepositoryLinkId });
  for (const ResourceName of names) {
    const key = { SyncType: SYNC_TYPE, ResourceName };
    await call("DeleteSyncConfiguration", key);
    await refused(gone, "GetSyncConfiguration", key);
    await call("DeleteSyncConfiguration", key); // again: there is nothing to delete, which is no error
  }
  for (const link of madeLinks) {
    await call("DeleteRepositoryLink", { RepositoryLinkId: link.RepositoryLinkId });
    await refused(gone, "GetRepositoryLink", { RepositoryLinkId: link.RepositoryLinkId });
  }
  for (const ConnectionArn of connectionArns) {
    await call("DeleteConnection", { ConnectionArn });
    await refused(gone, "GetConnection", { ConnectionArn });
    await refused(gone, "DeleteConnection", { ConnectionArn });
  }
  for (const HostArn of hostArns) {
    await call("DeleteHost", { HostArn });
    await refused(gone, "GetHost", { HostArn });
  }
  for (const arn of [hostArns[0], connectionArns[0], madeLinks[0].RepositoryLinkArn]) await untaggable(arn);
  await checkList("ListHosts", "Hosts", "HostArn", []);
  await checkList("ListConnections", "Connections", "ConnectionArn", []);
  await checkList("ListRepositoryLinks", "RepositoryLinks", "RepositoryLinkId", []);
}

async function walk() {
  const region = await client.config.region();
  const hostArns = await hosts(region);
  const connectionArns = await connections(region, hostArns);
  for (const arn of connectionArns.slice(0, 2)) await authorize(arn);
  const madeLinks = await links(region, connectionArns);
  const names = await syncs(madeLinks[0]);
  for (const arn of [hostArns[3], connectionArns[4], madeLinks[2].RepositoryLinkArn]) await tagging(arn);
  await fill(hostArns[3]);
  await deleteAll(hostArns, connectionArns, madeLinks, names);
  return { called: [...called].sort(), refused: [...refusals].sort() };
}

walk().then(
  (seen) => console.log(JSON.stringify(seen, null, 2)),
  (error) => {
    console.error(`api_walk.cjs: ${error.name}: ${error.message}${error.stderr ?? ""}`);
    process.exitCode = 1;
  },
);
